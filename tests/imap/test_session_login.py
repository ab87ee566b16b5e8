"""Becoming somebody, and failing to."""

import base64
import hashlib
import hmac
from ipaddress import ip_network
from typing import ClassVar

from mailsrv.counters.memory import MemoryCounters
from mailsrv.errors import Unavailable
from tests.fakes.counters import SlowCounters
from tests.imap.talking import ADDRESS, LOGIN, PASSWORD, Client, ImapTestCase

PLAIN = base64.b64encode(f"\0{ADDRESS}\0{PASSWORD}".encode())
FAILED = b"NO [AUTHENTICATIONFAILED] Login failed"


def scram_client(client: Client, password: str, *, initial: bool) -> list[bytes]:
    """SCRAM-SHA-256 by the letter of rfc5802, written without the server's code."""
    bare = f"n={ADDRESS},r=rOprNGfwEbeRWgbNEkqO"
    first = base64.b64encode(f"n,,{bare}".encode())
    if initial:
        client.send(b"s1 AUTHENTICATE SCRAM-SHA-256 " + first + b"\r\n")
    else:
        client.send(b"s1 AUTHENTICATE SCRAM-SHA-256\r\n")
        assert client.heard() == [b"+ "]
        client.send(first + b"\r\n")
    challenge = base64.b64decode(client.heard()[0][2:]).decode()
    fields = dict(field.split("=", 1) for field in challenge.split(","))
    salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = f"c=biws,r={fields['r']}"
    message = f"{bare},{challenge},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    final = f"{without_proof},p={base64.b64encode(proof).decode()}".encode()
    client.send(base64.b64encode(final) + b"\r\n")
    lines = client.heard()
    if lines and lines[0].startswith(b"+ "):
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        expected = b"v=" + base64.b64encode(hmac.digest(server_key, message, "sha256"))
        assert base64.b64decode(lines[0][2:]) == expected
    return lines


class LoginTests(ImapTestCase):
    def test_login_says_what_is_possible_now(self) -> None:
        (line,) = self.connect().say(LOGIN)
        self.assertRegex(line, rb"^OK \[CAPABILITY IMAP4rev1 .*\bMOVE\b.*\] Logged in$")
        self.assertNotIn(b"AUTH=", line)

    def test_literals_carry_any_password(self) -> None:
        client = self.connect()
        client.send(b"a LOGIN {17}\r\n")
        self.assertEqual(client.heard(), [b"+ Ready for the literal"])
        client.send(ADDRESS.encode() + b" {%d+}\r\n" % len(PASSWORD) + PASSWORD.encode() + b"\r\n")
        self.assertTrue(client.heard()[-1].startswith(b"a OK "))

    def test_wrong_password_and_unknown_address_look_alike(self) -> None:
        client = self.connect()
        answers = []
        for command in (b"LOGIN alice@example.com wrong", b"LOGIN nobody@example.org wrong"):
            self.assertEqual(client.say(command), [])
            self.clock.advance(15)
            answers.append(client.heard()[0].split(b" ", 1)[1])
        self.assertEqual(answers, [FAILED, FAILED])

    def test_each_failure_takes_longer_and_the_fourth_ends_it(self) -> None:
        client = self.connect()
        for seconds in (2, 4, 8):
            self.assertEqual(client.say(b"LOGIN alice@example.com wrong"), [])
            self.clock.advance(seconds - 0.1)
            self.assertEqual(client.heard(), [])
            self.clock.advance(0.2)
            self.assertEqual(len(client.heard()), 1)
        client.say(b"LOGIN alice@example.com wrong")
        self.clock.advance(15)
        lines = client.heard()
        self.assertEqual(lines[0], b"* BYE Too many failed logins")
        self.assertTrue(lines[1].endswith(FAILED))
        self.assertTrue(client.closed)

    def test_failures_count_for_the_address_and_never_delay_the_right_password(self) -> None:
        guesser = self.connect()
        guesser.say(b"LOGIN alice@example.com wrong")
        self.clock.advance(2)
        second = self.connect()
        second.say(b"LOGIN alice@example.com wrong")
        self.clock.advance(2.1)
        self.assertEqual(second.heard(), [])
        self.assertTrue(self.connect().say(LOGIN)[0].startswith(b"OK"))

    def test_wrong_scope_fails(self) -> None:
        self.store.add_alias(ADDRESS, "only for sending", scopes=("smtp",))
        client = self.connect()
        client.say(b'LOGIN alice@example.com "only for sending"')
        self.clock.advance(2)
        self.assertTrue(client.heard()[0].endswith(FAILED))

    def test_a_store_that_is_away_is_no_failed_login(self) -> None:
        self.store.failures["login"] = Unavailable("link down")
        client = self.connect()
        self.assertEqual(
            client.say(LOGIN), [b"NO [UNAVAILABLE] The server cannot do that now, try again"]
        )
        self.assertTrue(client.say(LOGIN)[0].startswith(b"OK"))

    def test_client_that_leaves_while_it_logs_in_leaves_no_session(self) -> None:
        client = self.connect()
        self.store.hold()
        client.say(LOGIN)
        client.lose()
        self.store.release()
        self.assertEqual(self.store.sessions, {})

    def test_leaving_while_a_login_is_checked_counts_as_a_failed_one(self) -> None:
        hasty = self.connect()
        self.store.hold()
        hasty.say(b"LOGIN alice@example.com wrong")
        hasty.lose()
        self.store.release()
        patient = self.connect()
        patient.say(b"LOGIN alice@example.com wrong")
        self.clock.advance(2.1)
        self.assertEqual(patient.heard(), [])
        self.clock.advance(2)
        self.assertTrue(patient.heard()[0].endswith(FAILED))

    def test_leaving_gives_the_session_back(self) -> None:
        client = self.logged_in()
        self.assertEqual(len(self.store.sessions), 1)
        client.lose()
        self.assertEqual(self.store.sessions, {})

    def test_logout_gives_the_session_back(self) -> None:
        client = self.logged_in()
        self.assertEqual(client.say(b"LOGOUT"), [b"* BYE Logging out", b"OK LOGOUT completed"])
        self.assertEqual(self.store.sessions, {})
        self.assertTrue(client.closed)

    def test_secrets_are_in_no_representation(self) -> None:
        client = self.connect()
        client.send(b"a LOGIN alice@example.com {30+}\r\nsecret")
        self.assertNotIn("secret", repr(vars(client.server.session)))


class SharedCountersTests(ImapTestCase):
    def test_guessers_at_two_servers_wait_for_both(self) -> None:
        self.factory = self.make_factory(counters=MemoryCounters(self.clock))
        self.connect().say(b"LOGIN alice@example.com wrong")
        self.factory = self.make_factory(counters=self.factory.options.counters)
        client = self.connect()
        client.say(b"LOGIN alice@example.com wrong")
        self.clock.advance(3.9)
        self.assertEqual(client.heard(), [])
        self.clock.advance(0.2)
        self.assertEqual(len(client.heard()), 1)

    def test_guessing_from_many_addresses_slows_down_by_any_mechanism(self) -> None:
        wrong = base64.b64encode(f"\0{ADDRESS.upper()}\0wrong".encode())
        for number in range(10):
            self.connect(host=f"192.0.2.{number}").say(b"AUTHENTICATE PLAIN " + wrong)
        for number, seconds in ((20, 2), (21, 4), (22, 8), (23, 15)):
            client = self.connect(host=f"192.0.2.{number}")
            if number % 2:
                client.say(b"LOGIN alice@example.com wrong")
            else:
                scram_client(client, "wrong", initial=True)
            self.clock.advance(seconds - 0.1)
            self.assertEqual(client.heard(), [])
            self.clock.advance(0.2)
            self.assertEqual(len(client.heard()), 1)
        owner = self.connect(host="198.51.100.1")
        self.assertTrue(owner.say(LOGIN)[0].startswith(b"OK"))

    def test_the_right_password_waits_for_no_counter(self) -> None:
        counters = SlowCounters()
        self.factory = self.make_factory(counters=counters)
        self.assertTrue(self.connect().say(LOGIN)[0].startswith(b"OK"))
        self.assertEqual([what for what, _ in counters.asked], ["clear login network 192.0.2.1"])

    def test_a_wrong_password_waits_for_its_count(self) -> None:
        counters = SlowCounters()
        self.factory = self.make_factory(counters=counters)
        client = self.connect()
        client.say(b"LOGIN alice@example.com wrong")
        self.assertEqual(
            sorted(what for what, _ in counters.asked),
            ["add login account alice@example.com", "add login network 192.0.2.1"],
        )
        counters.answer(2)
        self.clock.advance(3.9)
        self.assertEqual(client.heard(), [])
        self.clock.advance(0.2)
        self.assertTrue(client.heard()[0].endswith(FAILED))

    def test_leaving_while_a_failure_is_counted(self) -> None:
        counters = SlowCounters()
        self.factory = self.make_factory(counters=counters)
        client = self.connect()
        client.say(b"LOGIN alice@example.com wrong")
        client.lose()
        self.assertEqual(len(counters.asked), 2)
        counters.answer(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AuthenticateTests(ImapTestCase):
    def test_plain(self) -> None:
        client = self.connect()
        self.assertEqual(client.say(b"AUTHENTICATE PLAIN"), [b"+ "])
        client.send(PLAIN + b"\r\n")
        self.assertTrue(client.heard()[0].startswith(b"t1 OK "))

    def test_plain_with_initial_response(self) -> None:
        self.assertTrue(self.connect().say(b"authenticate plain " + PLAIN)[0].startswith(b"OK "))

    def test_plain_may_name_itself_and_nobody_else(self) -> None:
        own = base64.b64encode(f"{ADDRESS}\0{ADDRESS}\0{PASSWORD}".encode())
        other = base64.b64encode(f"bob@example.com\0{ADDRESS}\0{PASSWORD}".encode())
        self.assertTrue(self.connect().say(b"AUTHENTICATE PLAIN " + own)[0].startswith(b"OK "))
        client = self.connect()
        client.say(b"AUTHENTICATE PLAIN " + other)
        self.clock.advance(2)
        self.assertTrue(client.heard()[0].endswith(FAILED))

    def test_cancel_nonsense_and_unknown_mechanism(self) -> None:
        client = self.connect()
        client.say(b"AUTHENTICATE PLAIN")
        client.send(b"*\r\n")
        self.assertEqual(client.heard(), [b"t1 BAD Authentication cancelled"])
        client.say(b"AUTHENTICATE PLAIN")
        client.send(b"!!!\r\n")
        self.assertEqual(client.heard(), [b"t2 BAD Base64 expected"])
        self.assertEqual(
            client.say(b"AUTHENTICATE CRAM-MD5"), [b"NO [CANNOT] There is no such mechanism"]
        )

    def test_response_line_has_a_limit(self) -> None:
        client = self.connect()
        client.say(b"AUTHENTICATE PLAIN")
        client.send(b"A" * 9000)
        self.assertEqual(client.heard()[0], b"* BYE That line is too long")
        self.assertTrue(client.closed)

    def test_abort_loop_ends(self) -> None:
        client = self.connect()
        for _ in range(3):
            client.say(b"AUTHENTICATE PLAIN")
            client.send(b"*\r\n")
        self.assertTrue(client.closed)

    def test_scram(self) -> None:
        for initial in (False, True):
            client = self.connect()
            lines = scram_client(client, PASSWORD, initial=initial)
            self.assertTrue(lines[0].startswith(b"+ "))
            client.send(b"\r\n")
            self.assertTrue(client.heard()[0].startswith(b"s1 OK "))
            self.assertTrue(client.say(b"SELECT INBOX")[-1].startswith(b"OK"))

    def test_scram_with_wrong_password(self) -> None:
        client = self.connect()
        self.assertEqual(scram_client(client, "wrong", initial=True), [])
        self.clock.advance(2)
        self.assertEqual(client.heard(), [b"s1 " + FAILED])

    def test_scram_client_that_doubts_the_server_leaves_no_session(self) -> None:
        client = self.connect()
        scram_client(client, PASSWORD, initial=True)
        client.send(b"*\r\n")
        self.assertEqual(client.heard(), [b"s1 BAD Authentication cancelled"])
        self.assertEqual(self.store.sessions, {})


class PrivacyTests(ImapTestCase):
    def test_no_login_in_clear_text(self) -> None:
        client = self.connect(secure=False)
        self.assertIn(b"STARTTLS LOGINDISABLED", client.greeting[0])
        self.assertNotIn(b"AUTH=", client.greeting[0])
        refused = [b"NO [PRIVACYREQUIRED] Begin TLS before you log in"]
        self.assertEqual(client.say(LOGIN), refused)
        self.assertEqual(client.say(b"AUTHENTICATE PLAIN " + PLAIN), refused)
        self.assertEqual(self.store.calls, [])

    def test_networks_that_may(self) -> None:
        self.factory = self.make_factory(
            cleartext_login_from=(ip_network("127.0.0.0/8"), ip_network("::1/128"))
        )
        for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            client = self.connect(secure=False, host=host)
            self.assertIn(b"STARTTLS AUTH=PLAIN", client.greeting[0])
            self.assertTrue(client.say(LOGIN)[0].startswith(b"OK"))
        for host in ("192.0.2.1", "::2", "no address"):
            self.assertTrue(
                self.connect(secure=False, host=host).say(LOGIN)[0].startswith(b"NO [PRIVACY")
            )


class LimitTests(ImapTestCase):
    options: ClassVar[dict[str, int]] = {"connections_per_address": 2, "connections": 3}

    def test_connections_of_one_address(self) -> None:
        first = self.connect()
        self.connect()
        third = self.connect()
        self.assertEqual(third.greeting, [b"* BYE [LIMIT] Too many connections"])
        self.assertTrue(third.closed)
        third.lose()
        first.lose()
        self.assertTrue(self.connect().greeting[0].startswith(b"* OK"))

    def test_connections_in_all(self) -> None:
        for host in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
            self.assertTrue(self.connect(host=host).greeting[0].startswith(b"* OK"))
        self.assertTrue(self.connect(host="192.0.2.4").greeting[0].startswith(b"* BYE [LIMIT]"))

    def test_neighbours_in_ipv6_are_one_address(self) -> None:
        self.connect(host="2001:db8::1")
        self.connect(host="2001:db8::2")
        self.assertTrue(self.connect(host="2001:db8::3").closed)
        self.assertFalse(self.connect(host="2001:db8:0:1::3").closed)


class TimeTests(ImapTestCase):
    def test_silence_before_login(self) -> None:
        client = self.connect()
        self.clock.advance(59)
        self.assertFalse(client.closed)
        self.clock.advance(2)
        self.assertEqual(client.heard(), [b"* BYE Autologout after a long silence"])
        self.assertTrue(client.closed)

    def test_chatting_without_login(self) -> None:
        client = self.connect()
        for _ in range(4):
            self.clock.advance(40)
            self.assertEqual(client.say(b"NOOP"), [b"OK NOOP completed"])
        self.clock.advance(30)
        self.assertEqual(client.heard(), [b"* BYE Too slow to log in"])

    def test_silence_after_login(self) -> None:
        client = self.logged_in()
        self.clock.advance(29 * 60)
        self.assertEqual(client.say(b"NOOP"), [b"OK NOOP completed"])
        self.clock.advance(30 * 60 + 1)
        self.assertEqual(client.heard(), [b"* BYE Autologout after a long silence"])
        self.assertEqual(self.store.sessions, {})

    def test_a_slow_store_is_not_the_clients_silence(self) -> None:
        client = self.logged_in()
        self.store.hold()
        client.say(b"SELECT INBOX")
        self.clock.advance(31 * 60)
        self.assertFalse(client.closed)
        self.store.release()
        self.assertTrue(client.heard()[-1].startswith(b"t2 OK"))

    def test_last_words_are_not_waited_for_for_ever(self) -> None:
        client = self.logged_in()
        client.say(b"LOGOUT")
        self.assertFalse(client.transport.aborted)
        self.clock.advance(16)
        self.assertTrue(client.transport.aborted)
