"""The pages of the review console, in the order of its menu."""
