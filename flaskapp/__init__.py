"""Answerline: a Flask application that answers phone calls with AI."""
