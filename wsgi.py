"""The app for gunicorn: waiting is made cooperative before anything else is imported."""

from gevent import monkey

monkey.patch_all()

from flaskapp import begin_serving, create_app  # noqa: E402

app = create_app()
begin_serving(app)
