"""The pages, as script/site builds them."""
