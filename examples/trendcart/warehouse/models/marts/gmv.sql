-- Gross merchandise value by day: what was sold, and what came back.
select
    day,
    count(distinct order_id) filter (kind = 'sale')::integer as orders,
    count(distinct customer_id) filter (kind = 'sale')::integer as customers,
    round(sum(amount_eur) filter (kind = 'sale'), 2) as gmv_eur,
    round(coalesce(sum(amount_eur) filter (kind = 'return'), 0), 2) as returns_eur,
    round(sum(amount_eur) filter (kind = 'sale') / count(distinct order_id) filter (kind = 'sale'), 2) as basket_eur
from {{ ref('stg_order_lines') }}
group by day
