"""From predictions and labels to outcomes: the tasks between P.predictions, P.labels and P.outcomes.

scored   predictions and labels on their way to where their event's id is
intake   the task that takes in labels
task     the task that joins them
"""
