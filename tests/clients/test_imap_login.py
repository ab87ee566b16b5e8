"""Before login, and logging in: rfc3501 6.1 and 6.2, SASL-IR, SCRAM-SHA-256, ID, ENABLE."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.clients.imap_case import ImapTestCase
from tests.clients.imap_client import Client, Literal
from tests.clients.imap_values import Status

NONCE = b"fyko+d2lbbFgONRv9qkxdawL"


class Scram:
    """The client's side of SCRAM-SHA-256 (rfc5802:413)."""

    def __init__(self, user: str, password: str) -> None:
        self.bare = b"n=%b,r=%b" % (user.encode(), NONCE)
        self.first = b"n,," + self.bare
        self.password = password.encode()
        self.signature = b""

    def final(self, challenge: bytes) -> bytes:
        fields = dict(field.split(b"=", 1) for field in challenge.split(b","))
        assert fields[b"r"].startswith(NONCE)
        assert len(fields[b"r"]) > len(NONCE)
        salt = base64.b64decode(fields[b"s"], validate=True)
        salted = hashlib.pbkdf2_hmac("sha256", self.password, salt, int(fields[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        bare = b"c=biws,r=" + fields[b"r"]
        message = b",".join((self.bare, challenge, bare))
        proof = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.signature = hmac.digest(server_key, message, "sha256")
        mixed = bytes(a ^ b for a, b in zip(client_key, proof, strict=True))
        return bare + b",p=" + base64.b64encode(mixed)


class AnyStateTests(ImapTestCase):
    shared = True

    def test_greeting_is_an_untagged_ok(self) -> None:
        """rfc3501:3650"""
        self.assertEqual(self.connect().greeting.kind, "OK")

    def test_greeting_may_carry_capabilities_and_they_are_true(self) -> None:
        """rfc3501:3822"""
        client = self.connect()
        self.assertEqual(client.greeting.code, "CAPABILITY")
        listed = client.ok("CAPABILITY").one("CAPABILITY").value
        self.assertEqual(client.greeting.data.split(), listed)

    def test_capability_lists_imap4rev1_in_a_single_response(self) -> None:
        """rfc3501:1311"""
        client = self.connect()
        for _ in ("before", "after"):
            self.assertIn(b"IMAP4rev1", client.ok("CAPABILITY").one("CAPABILITY").value)
            if client.count == 1:
                client.ok(f"LOGIN {self.address} {self.password}")

    def test_starttls_and_plain_are_implemented(self) -> None:
        """rfc3501:1327"""
        listed = self.connect().ok("CAPABILITY").one("CAPABILITY").value
        self.assertIn(b"STARTTLS", listed)
        self.assertIn(b"AUTH=PLAIN", listed)

    def test_each_capability_once(self) -> None:
        """rfc3501:3779"""
        client = self.login()
        listed = client.ok("CAPABILITY").one("CAPABILITY").value
        self.assertEqual(len(listed), len(set(listed)))

    def test_promised_extensions_are_announced_after_login(self) -> None:
        """rfc3501:3799"""
        listed = set(self.login().ok("CAPABILITY").one("CAPABILITY").value)
        promised = (
            b"NAMESPACE IDLE UIDPLUS MOVE UNSELECT ID ENABLE CONDSTORE SPECIAL-USE CHILDREN"
            b" LIST-STATUS ESEARCH QUOTA LITERAL+ STATUS=SIZE QUOTA=RES-STORAGE"
        )
        self.assertEqual(set(promised.split()) - listed, set())
        self.assertTrue(any(name.startswith(b"APPENDLIMIT") for name in listed))

    def test_literal_plus_and_literal_minus_are_never_announced_together(self) -> None:
        """rfc7888:297"""
        listed = self.login().ok("CAPABILITY").one("CAPABILITY").value
        self.assertNotIn(b"LITERAL-", listed)

    def test_noop_succeeds_in_every_state(self) -> None:
        """rfc3501:1372"""
        client = self.connect()
        client.ok("NOOP")
        client.ok(f"LOGIN {self.address} {self.password}")
        client.ok("NOOP")
        client.ok("SELECT INBOX")
        client.ok("NOOP")

    def test_logout_says_bye_then_ok_then_closes(self) -> None:
        """rfc3501:1416"""
        for client in (self.connect(), self.login(), self.login("INBOX")):
            answer = client.ok("LOGOUT")
            self.assertEqual(answer.untagged[-1].kind, "BYE")
            self.assertRaises(EOFError, client.read)

    def test_commands_of_later_states_are_refused(self) -> None:
        """rfc3501:690"""
        client = self.connect()
        for command in ("SELECT INBOX", 'LIST "" *'):
            self.assertIn(client.command(command).status.kind, ("BAD", "NO"))
        client = self.login()
        for command in ("FETCH 1 FLAGS", "CLOSE", "EXPUNGE", "UID FETCH 1 FLAGS", "CHECK"):
            self.assertIn(client.command(command).status.kind, ("BAD", "NO"))

    def test_login_is_refused_once_logged_in(self) -> None:
        """rfc3501:1448"""
        client = self.login()
        self.assertIn(
            client.command(f"LOGIN {self.address} {self.password}").status.kind, ("BAD", "NO")
        )
        client.bad("STARTTLS")
        client.ok("SELECT INBOX")

    def test_unknown_command_is_bad_with_its_tag(self) -> None:
        """rfc3501:4410"""
        self.connect().bad("BLURDYBLOOP {102856}")

    def test_id_is_answered_in_every_state(self) -> None:
        """rfc2971:181"""
        client = self.connect()
        for command in ("ID NIL", 'ID ("name" "sodr" "version" NIL)', "ID ()"):
            self.assertIn(b"name", client.ok(command).one("ID").value)
        client.ok(f"LOGIN {self.address} {self.password}")
        client.ok("ID NIL")


class LoginTests(ImapTestCase):
    shared = True

    def test_login_with_atoms_quoted_strings_and_literals(self) -> None:
        """rfc3501:4804"""
        user, password = self.address, self.password
        for words in (
            (f"LOGIN {user} {password}",),
            (f'LOGIN "{user}" "{password}"',),
            ("login ", Literal(user.encode()), " ", Literal(password.encode())),
            ("LoGiN ", Literal(user.encode(), plus=True), f" {password}"),
        ):
            self.connect().ok(*words)

    def test_login_answers_the_new_capabilities(self) -> None:
        """rfc3501:1687"""
        client = self.connect()
        answer = client.ok(f"LOGIN {self.address} {self.password}")
        self.assertEqual(
            answer.code("CAPABILITY").split(), client.ok("CAPABILITY").one("CAPABILITY").value
        )

    def test_tls_from_the_start_serves_the_same(self) -> None:
        """rfc3501:1704"""
        client = Client(self.server.imaps_port, self.server.tls_context(), self.source)
        self.addCleanup(client.close)
        self.assertNotIn(b"STARTTLS", client.ok("CAPABILITY").one("CAPABILITY").value)
        client.ok(f"LOGIN {self.address} {self.password}")

    def test_starttls_begins_anew_without_offering_itself(self) -> None:
        """rfc3501:1477"""
        client = self.connect()
        client.ok("STARTTLS")
        client.start_tls(self.server.tls_context())
        listed = client.ok("CAPABILITY").one("CAPABILITY").value
        self.assertNotIn(b"STARTTLS", listed)
        client.bad("STARTTLS")
        client.ok(f"LOGIN {self.address} {self.password}")

    def test_what_was_sent_behind_starttls_in_clear_text_is_never_executed(self) -> None:
        """rfc3501:1478"""
        client = self.connect()
        client.send(b"x1 STARTTLS\r\nx2 CAPABILITY\r\n")
        heard = client.file.read()
        self.assertNotIn(b"x2 OK", heard)
        self.assertNotIn(b"* CAPABILITY", heard)


class AuthenticateTests(ImapTestCase):
    shared = True

    def plain(self) -> bytes:
        return base64.b64encode(f"\0{self.address}\0{self.password}".encode())

    def authenticate(self, client: Client, start: str, *replies: bytes) -> Status:
        tag, answer = client.begin(start)
        for reply in replies:
            response = client.read()
            self.assertIsInstance(response, bytes, response)
            client.send(reply + b"\r\n")
        return client.until_tagged(tag, answer).status

    def test_plain_with_an_empty_challenge(self) -> None:
        """rfc4959:130"""
        client = self.connect()
        tag, answer = client.begin("AUTHENTICATE PLAIN")
        self.assertEqual(client.read(), b"")
        client.send(self.plain() + b"\r\n")
        self.assertEqual(client.until_tagged(tag, answer).status.kind, "OK")
        client.ok("SELECT INBOX")

    def test_plain_with_initial_response(self) -> None:
        """rfc4959:91"""
        client = self.connect()
        client.ok("AUTHENTICATE PLAIN ", self.plain())
        client.ok("SELECT INBOX")

    def test_mechanism_name_is_case_insensitive(self) -> None:
        """rfc3501:4502"""
        self.connect().ok("authenticate plain ", self.plain())

    def test_plain_with_its_own_authorization_identity(self) -> None:
        """rfc3501:1614"""
        user = self.address.encode()
        token = base64.b64encode(b"%b\0%b\0%b" % (user, user, self.password.encode()))
        self.connect().ok("AUTHENTICATE PLAIN ", token)

    def test_star_cancels_with_bad(self) -> None:
        """rfc3501:1554"""
        client = self.connect()
        self.assertEqual(self.authenticate(client, "AUTHENTICATE PLAIN", b"*").kind, "BAD")
        client.ok(f"LOGIN {self.address} {self.password}")

    def test_unknown_mechanism_is_no(self) -> None:
        """rfc3501:1536"""
        self.connect().no("AUTHENTICATE KERBEROS_V4")

    def test_broken_base64_is_bad(self) -> None:
        """rfc4959:99"""
        client = self.connect()
        self.assertEqual(self.authenticate(client, "AUTHENTICATE PLAIN", b"!!!!").kind, "BAD")
        client.bad("AUTHENTICATE PLAIN ", b"AHRlc3Q")
        client.ok("AUTHENTICATE PLAIN ", self.plain())


def scram_login(client: Client, scram: Scram, initial: bool) -> tuple[bytes, Status]:
    """The server's last message, empty when it refused, and its tagged answer."""
    first = base64.b64encode(scram.first)
    if initial:
        tag, answer = client.begin("AUTHENTICATE SCRAM-SHA-256 ", first)
    else:
        tag, answer = client.begin("AUTHENTICATE SCRAM-SHA-256")
        assert client.read() == b""
        client.send(first + b"\r\n")
    challenge = base64.b64decode(client.read(), validate=True)
    client.send(base64.b64encode(scram.final(challenge)) + b"\r\n")
    final = client.read()
    if not isinstance(final, bytes):
        return b"", final[1]
    client.send(b"\r\n")
    return base64.b64decode(final), client.until_tagged(tag, answer).status


class ScramTests(ImapTestCase):
    shared = True

    def test_scram_with_the_server_proving_itself(self) -> None:
        """rfc5802:431"""
        for initial in (False, True):
            client = self.connect()
            scram = Scram(self.address, self.password)
            final, status = scram_login(client, scram, initial)
            self.assertEqual(final, b"v=" + base64.b64encode(scram.signature))
            self.assertEqual(status.kind, "OK")
            client.ok("SELECT INBOX")
            client.ok("APPEND INBOX ", Literal(b"Subject: opened\r\n\r\n"))


class RefusalTests(ImapTestCase):
    """Failed logins, all tried at once, for each is answered only after a while."""

    def attempts(self) -> dict[str, Callable[[Client], Status]]:
        user, password, nobody = self.address, self.password, "nobody@example.com"
        other = base64.b64encode(f"root@example.com\0{user}\0{password}".encode()).decode()
        wrong = base64.b64encode(f"\0{user}\0wrong".encode()).decode()
        return {
            "LOGIN wrong": lambda client: client.no(f"LOGIN {user} wrong").status,
            "LOGIN unknown": lambda client: client.no(f"LOGIN {nobody} wrong").status,
            "PLAIN wrong": lambda client: client.no(f"AUTHENTICATE PLAIN {wrong}").status,
            "PLAIN other": lambda client: client.no(f"AUTHENTICATE PLAIN {other}").status,
            "SCRAM wrong": lambda client: scram_login(client, Scram(user, "wrong"), True)[1],
            "SCRAM unknown": lambda client: scram_login(client, Scram(nobody, "wrong"), True)[1],
        }

    def test_wrong_and_unknown_are_answered_alike_and_another_try_is_possible(self) -> None:
        """rfc5530:104; rfc3501:1606"""
        attempts = self.attempts()
        clients = [self.connect(f"127.0.200.{n + 1}") for n in range(len(attempts))]
        with ThreadPoolExecutor(len(attempts)) as pool:
            tried = pool.map(
                lambda pair: pair[0](pair[1]), zip(attempts.values(), clients, strict=True)
            )
            answers = dict(zip(attempts, tried, strict=True))
        for name, status in answers.items():
            self.assertEqual(status.kind, "NO", name)
            if "other" not in name:
                self.assertEqual(status, answers["LOGIN wrong"], name)
        self.assertEqual(answers["LOGIN wrong"].code, "AUTHENTICATIONFAILED")
        self.assertIn(answers["PLAIN other"].code, ("AUTHORIZATIONFAILED", "AUTHENTICATIONFAILED"))
        for client in clients:
            self.assertIn(client.command("SELECT INBOX").status.kind, ("BAD", "NO"))
            client.ok(f"LOGIN {self.address} {self.password}")


class EnableTests(ImapTestCase):
    shared = True

    def test_enable_answers_what_it_enabled(self) -> None:
        """rfc5161:106"""
        client = self.login()
        self.assertEqual(client.ok("ENABLE CONDSTORE").one("ENABLED").value, [b"CONDSTORE"])

    def test_unknown_extensions_are_ignored(self) -> None:
        """rfc5161:93"""
        client = self.login()
        self.assertEqual(client.ok("ENABLE X-GOOD-IDEA").one("ENABLED").value, [])

    def test_what_is_known_but_not_for_enable_is_ignored(self) -> None:
        """rfc5161:95"""
        self.assertEqual(self.login().ok("ENABLE IDLE UIDPLUS").one("ENABLED").value, [])

    def test_enable_does_not_change_the_capabilities(self) -> None:
        """rfc5161:141"""
        client = self.login()
        before = client.ok("CAPABILITY").one("CAPABILITY").value
        client.ok("ENABLE CONDSTORE")
        self.assertEqual(client.ok("CAPABILITY").one("CAPABILITY").value, before)

    def test_enable_is_refused_before_login(self) -> None:
        """rfc5161:125"""
        self.connect().bad("ENABLE CONDSTORE")

    def test_enable_needs_an_argument(self) -> None:
        """rfc5161:207"""
        self.login().bad("ENABLE")
