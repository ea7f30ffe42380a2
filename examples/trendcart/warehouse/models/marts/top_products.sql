-- The fifty products that brought most, returns taken off.
select
    row_number() over (order by sum(case kind when 'sale' then amount_eur else -amount_eur end) desc, sku)::integer as rank,
    sku,
    category,
    sum(case kind when 'sale' then quantity else -quantity end)::integer as units,
    round(sum(case kind when 'sale' then amount_eur else -amount_eur end), 2) as gmv_eur
from {{ ref('stg_order_lines') }}
group by sku, category
qualify rank <= 50
