"""Its presence puts the helpers beside it in reach of the tests in the rooms below."""
