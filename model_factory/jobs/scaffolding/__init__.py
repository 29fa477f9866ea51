"""`factory init`: write the first config, from a shipped template or from a look at the user's data.

`looking` finds out what the data are, `choosing` decides on a model space and a recipe, `budgeting` on budgets that the
model space can keep, and `starting` writes the configs.
"""
