"""From dispositions to operations: the plan, its breakers, and the plan that takes a load back."""
