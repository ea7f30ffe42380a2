-- One row a day: how many sessions got how far.
select
    hour::date as day,
    coalesce(sum(sessions) filter (action = 'view'), 0)::integer as sessions,
    coalesce(sum(sessions) filter (action = 'cart'), 0)::integer as carts,
    coalesce(sum(sessions) filter (action = 'checkout'), 0)::integer as checkouts,
    coalesce(sum(sessions) filter (action = 'purchase'), 0)::integer as purchases
from {{ source('raw', 'web_events') }}
group by all
