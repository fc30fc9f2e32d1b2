"""What was logged, on its way from training to the writers, on threads of its own."""
