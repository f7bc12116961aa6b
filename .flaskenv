FLASK_APP=flaskapp.command:app
