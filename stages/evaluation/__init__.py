"""How good the model is, and how sure that is: scores, intervals, pictures, the card."""
