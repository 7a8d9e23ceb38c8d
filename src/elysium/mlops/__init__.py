"""What MLflow records: a parent run per pipeline, a child run per stage, the final model in the registry."""
