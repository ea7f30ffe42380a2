-- No step can have more sessions than the one before it.
select * from {{ ref('funnel') }}
where carts > sessions or checkouts > carts or purchases > checkouts
