-- From visit to purchase, by day.
select
    day,
    sessions,
    carts,
    checkouts,
    purchases,
    round(purchases / nullif(sessions, 0), 4) as conversion
from {{ ref('stg_web_steps') }}
