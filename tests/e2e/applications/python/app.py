"""Answers every request with a line."""

import flask

app = flask.Flask(__name__)


@app.route("/")
def answer():
    return f"first answer of {flask.Flask.__name__}\n"
