"""What enters: a model's predictions and the raw annotation. What leaves: metrics, tables, plots and drawn videos."""
