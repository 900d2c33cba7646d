"""
Settings of Django's own tests that have their databases as files in a folder, and a runner that notes what comes of each
test: a JSON object a line in the file SLUICE_OUTCOMES. SLUICE_JOURNAL is the journal mode.
"""

import json
import os
import unittest

from django.test.runner import DiscoverRunner


def _database(name):
    folder = os.environ["SLUICE_FOLDER"]
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{folder}/{name}-real.db",
        "OPTIONS": {"timeout": 30, "init_command": f"PRAGMA journal_mode = {os.environ['SLUICE_JOURNAL']}"},
        "TEST": {"NAME": f"{folder}/{name}.db"},
    }


DATABASES = {"default": _database("default"), "other": _database("other")}
SECRET_KEY = "tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = False
TEST_RUNNER = "on_folder.NotingRunner"


class NotingResult(unittest.TextTestResult):
    def addSuccess(self, test):
        super().addSuccess(test)
        self._note(test, "passed")

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, "failed", err[1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, "failed", err[1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, "failed", err[1])

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self._note(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self._note(test, "passed")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self._note(test, "failed", "it passed, and should not")

    def _note(self, test, outcome, why=""):
        with open(os.environ["SLUICE_OUTCOMES"], "a") as file:
            print(json.dumps({"test": test.id(), "outcome": outcome, "why": str(why)[:500]}), file=file)


class NotingRunner(DiscoverRunner):
    def get_resultclass(self):
        return NotingResult
