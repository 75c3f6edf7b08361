"""The contenders, each as a competent user would write it; MODEL names the file that it serves."""
