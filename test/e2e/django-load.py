"""Uses a Django project as people do: its admin over HTTP requests, and its ORM in transactions.

Prints the row counts that it leaves behind as JSON. DJANGO_SETTINGS_MODULE names the project's settings.
"""

import json
import sys

import django

django.setup()

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.test import Client

PEOPLE = int(sys.argv[1])
IN_BULK = 200


def post(client, path, **fields):
    response = client.post(path, fields)
    assert response.status_code == 302, (path, response.status_code, response.content[:2000])


def use_the_admin(client):
    permissions = list(Permission.objects.values_list("id", flat=True)[:10])
    for i in range(PEOPLE):
        post(client, "/admin/auth/group/add/", name=f"group {i}", permissions=permissions[: i % 10])
        group = Group.objects.get(name=f"group {i}")
        password = f"a secret {i} text"
        post(
            client,
            "/admin/auth/user/add/",
            username=f"user{i}",
            usable_password="true",
            password1=password,
            password2=password,
        )
        if i % 5 == 4:
            post(client, f"/admin/auth/group/{group.id}/delete/", post="yes")
        else:
            User.objects.get(username=f"user{i}").groups.add(group)
        assert client.get("/admin/auth/user/").status_code == 200


def use_transactions():
    for i in range(10):
        with transaction.atomic():
            Group.objects.bulk_create(Group(name=f"bulk {i} {j}") for j in range(IN_BULK))
        try:
            with transaction.atomic():
                User.objects.update(last_name=f"of round {i}")
                try:
                    with transaction.atomic():
                        User.objects.all().delete()
                        raise ValueError
                except ValueError:
                    pass
                if i % 2 == 1:
                    Group.objects.filter(name__startswith="bulk").delete()
                    raise KeyError
        except KeyError:
            pass
    with transaction.atomic():
        Group.objects.filter(name__startswith="bulk 3").delete()


client = Client()
post(client, "/admin/login/?next=/admin/", username="admin", password="admin-secret")
use_the_admin(client)
use_transactions()
with connection.cursor() as cursor:
    cursor.execute("VACUUM")
    journal_mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]

print(
    json.dumps(
        {
            "journal_mode": journal_mode,
            "auth_user": User.objects.count(),
            "auth_group": Group.objects.count(),
            "django_admin_log": LogEntry.objects.count(),
            "django_session": Session.objects.count(),
        }
    )
)
