"""Graph credit in Tunix's agentic GRPO trainer; extra [tunix].

`learner.GraphCreditLearner` takes the place of its GRPOLearner.
"""
