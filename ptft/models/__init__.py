"""Model shapes, stock Hugging Face models, and heads that predict only where a prediction is asked for."""
