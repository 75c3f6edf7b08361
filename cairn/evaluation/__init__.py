"""How good a model is, and how sure that is: the search for the best, scores, pictures, card."""
