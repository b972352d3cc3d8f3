"""Widgets: views that answer to a hand, and show a still picture where no kernel runs."""
