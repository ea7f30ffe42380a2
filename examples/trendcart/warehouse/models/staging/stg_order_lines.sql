-- Order lines in euro. A late line counts for the day it was ordered on, at that day's rate.
select
    lines.order_id,
    lines.line,
    lines.kind,
    lines.ordered_at::date as day,
    lines.customer_id,
    lines.country,
    lines.sku,
    lines.category,
    lines.quantity,
    lines.quantity * lines.unit_price * coalesce(rates.eur, case lines.currency when 'EUR' then 1 end) as amount_eur
from {{ source('raw', 'orders') }} as lines
left join {{ source('raw', 'fx_rates') }} as rates
    on rates.day = lines.ordered_at::date and rates.currency = lines.currency
