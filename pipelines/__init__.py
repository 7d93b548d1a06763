"""Floor 3: components chained into pipelines, and the commands that run, compile, submit and schedule them."""
