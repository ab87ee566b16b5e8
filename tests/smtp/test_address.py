"""Addresses in SMTP commands: what is taken, what is refused."""

from twisted.trial.unittest import SynchronousTestCase

from mailsrv.smtp.address import Address, BadAddress, is_literal, parse_address, parse_path


class AddressTests(SynchronousTestCase):
    def test_good(self):
        for text, local, domain in (
            ("a@b", "a", "b"),
            ("Hello+detail@Example.COM", "Hello+detail", "example.com"),
            ("!#$%&'*+-/=?^_`{|}~@x.y", "!#$%&'*+-/=?^_`{|}~", "x.y"),
            ('"john doe"@example.com', "john doe", "example.com"),
            ('"a\\"b\\\\"@example.com', 'a"b\\', "example.com"),
            ('"plain"@example.com', "plain", "example.com"),
            ('"user@other"@example.com', "user@other", "example.com"),
            ('""@example.com', "", "example.com"),
            ("root@my_host.x_.y", "root", "my_host.x_.y"),
            ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
            ("a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]"),
            ("grüße@müller.example", "grüße", "müller.example"),
            ("用户@例え.jp", "用户", "例え.jp"),
            ("a@xn--mller-kva.example", "a", "xn--mller-kva.example"),
            ("a" * 256 + "@b.c", "a" * 256, "b.c"),
            (
                "a@" + ".".join(["d" * 63] * 3 + ["e" * 63]),
                "a",
                ".".join(["d" * 63] * 3 + ["e" * 63]),
            ),
        ):
            self.assertEqual(parse_address(text), Address(local, domain), text)

    def test_bad(self):
        for text in (
            "", "a", "@b", "a@", "a b@c", "a@b c", "a..b@c", ".a@b", "a.@b", "a@b..c", "a@.b",
            "a@b.", "a@-b", "a@b-", "a@b@c", '"a@b', '"a"b@c', '"a\x01"@b', "a@[", "a@[]",
            "a@[1.2.3]", "a@[300.1.1.1]", "a@[IPv6:zz]", "a@[IPv6:fe80::1%eth0]", "a@[x:]",
            "a@[1.2.3.4]x", "a(c)@b", "a@b,c", "a<@b", "a@" + "d" * 64,
            "a@" + ".".join(["d" * 60] * 5), "a" * 257 + "@b", "ü" * 129 + "@b", "a@" + "ü" * 32,
            "a\u2028b@c", "a\u0085@c", "a\u00a0@c", "a@b\u202ec",
        ):  # fmt: skip
            with self.assertRaises(BadAddress, msg=repr(text)):
                parse_address(text)

    def test_least_quoting(self):
        self.assertEqual(str(parse_address('"pl\\ain"@x.y')), "plain@x.y")
        for text in ('"john doe"@x.y', '"a\\"b\\\\"@x.y', '""@x.y', '"a..b"@x.y'):
            self.assertEqual(str(parse_address(text)), text)

    def test_literals(self):
        for good in ("[127.0.0.1]", "[IPv6:::1]", "[ipv6:::ffff:1.2.3.4]", "[x-y:abc]"):
            self.assertTrue(is_literal(good), good)
        for bad in ("127.0.0.1", "[127.1]", "[IPv6:]", "[a b:c]", "[:x]", "[x:\\]"):
            self.assertFalse(is_literal(bad), bad)


class PathTests(SynchronousTestCase):
    def test_inside_and_end(self):
        for text, inside, rest in (
            ("<a@b> SIZE=1", "a@b", " SIZE=1"),
            ("<>", "", ""),
            ('<"a>b"@c> X', '"a>b"@c', " X"),
            ('<"a\\">"@c>', '"a\\">"@c', ""),
            ("<@relay.example,@other.example:a@b>", "a@b", ""),
            ("<@x:a@b>", "a@b", ""),
        ):
            found, end = parse_path(text, 0)
            self.assertEqual((found, text[end:]), (inside, rest))

    def test_bad(self):
        for text in ("", "a@b", "<a@b", "<@x:>", "< "):
            with self.assertRaises(BadAddress, msg=text):
                parse_path(text, 0)
