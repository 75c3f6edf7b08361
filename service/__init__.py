"""What runs in the container: nothing here imports pandas or scikit-learn."""
