"""What is drawn of the results, a file a figure."""
