"""What the outside must offer: one Protocol a file, small, in our own words."""
