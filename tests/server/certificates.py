"""Certificates for tests of TLS, made with the command openssl. They are valid for two days."""
import os
import subprocess

SERVER_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Pair:
    """A certificate and its key: the paths of their files, in PEM."""

    def __init__(self, directory, name):
        self.certificate = os.path.join(directory, name + ".pem")
        self.key = os.path.join(directory, name + ".key")

    def flags(self, prefix="--tls-"):
        return [prefix + "cert", self.certificate, prefix + "key", self.key]

    def contents(self):
        """The bytes of the key and of the certificate."""
        with open(self.key, "rb") as key, open(self.certificate, "rb") as certificate:
            return key.read(), certificate.read()


class Authority(Pair):
    """An authority that signs certificates of servers and clients, in a directory of its own."""

    def __init__(self, directory, name="authority"):
        os.makedirs(directory, exist_ok=True)
        super().__init__(directory, name)
        self.directory = directory
        self._make(self, name, "basicConstraints=critical,CA:TRUE")

    def server(self, name="server"):
        return self._make(Pair(self.directory, name), "localhost", "basicConstraints=CA:FALSE",
                          SERVER_NAMES, "extendedKeyUsage=serverAuth", issuer=self)

    def client(self, name="client"):
        return self._make(Pair(self.directory, name), name, "basicConstraints=CA:FALSE",
                          "extendedKeyUsage=clientAuth", issuer=self)

    @staticmethod
    def _make(pair, common_name, *extensions, issuer=None):
        signed = [] if issuer is None else ["-CA", issuer.certificate, "-CAkey", issuer.key]
        added = [argument for extension in extensions for argument in ("-addext", extension)]
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
                "-days", "2", "-subj", "/CN=" + common_name, "-keyout", pair.key, "-out",
                pair.certificate, *signed, *added)
        return pair
