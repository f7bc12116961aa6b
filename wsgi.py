"""The app for gunicorn: waiting is made cooperative before anything else is imported."""

from gevent import config, monkey

monkey.patch_all()
config.track_greenlet_tree = False  # nobody asks who started whom; every greenlet would keep ten frames of it

from flaskapp import begin_serving, create_app  # noqa: E402

app = create_app()
begin_serving(app)
