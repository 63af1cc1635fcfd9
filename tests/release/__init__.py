"""What a tag releases, and what script/release refuses."""
