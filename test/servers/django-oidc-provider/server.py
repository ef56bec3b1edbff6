"""The project's pages: `gunicorn server:application`.

`python server.py` makes its database; `python server.py TOKEN` deletes an access token.
"""

import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

from django.core.wsgi import get_wsgi_application

application = get_wsgi_application()

from django.core.management import call_command
from django.urls import include, path
from oidc_provider.models import Client, Token

urlpatterns = [path("openid/", include("oidc_provider.urls", namespace="oidc_provider"))]


def client(name, scope, secret="Password1"):
    Client.objects.create(client_id=name, name=name, client_secret=secret, _scope=scope)


def set_up():
    call_command("migrate", verbosity=0)
    call_command("creatersakey")
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = "wonderland"
    call_command(
        "createsuperuser", interactive=False, username="alice", email="alice@example.com"
    )
    # A client asks about tokens of the clients that its own scope names.
    client("api-gateway", "token_introspection app")
    client("special", "token_introspection app", secret='p+ss w%rd/&=u"')
    client("app", "openid read write")
    client("other", "openid read write")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Token.objects.get(access_token=sys.argv[1]).delete()
    else:
        set_up()
