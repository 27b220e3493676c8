#include "server/access/access_control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "server/access/access.h"
#include "server/access/exposure.h"
#include "server/access/token.h"
#include "server/errors.h"
#include "server/rpc/call_context.h"
#include "tests/engine/base/support.h"
#include "tests/server/test_certificates.h"

namespace whipsnake::server {
namespace {

using std::chrono::system_clock;
using testing::HasSubstr;
using testing::Not;

// A file of tokens, and a clock that a test sets.
class AccessControlTest : public testing::Test {
 protected:
  std::string AddToken(const std::string& name, ScopeSet scopes,
                       std::optional<system_clock::time_point> expires = std::nullopt) {
    const std::string token = *NewToken();
    lines_ += ToLine({.name = name,
                      .sha256 = TokenDigest(token),
                      .certificate = "",
                      .scopes = scopes,
                      .expires = expires,
                      .description = ""}) +
              "\n";
    Write(lines_);
    return "Bearer " + token;
  }
  void Write(const std::string& text) { engine::WriteBytes(path_, text); }

  std::unique_ptr<AccessControl> Open() {
    auto control = AccessControl::Open(path_, [this] { return now_; });
    EXPECT_TRUE(control.ok()) << control.status();
    return *std::move(control);
  }

  const engine::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "tokens.jsonl";
  std::string lines_;
  system_clock::time_point now_ = system_clock::time_point(std::chrono::seconds(2'000'000'000));
};

ScopeSet Scopes(std::initializer_list<Scope> scopes) {
  ScopeSet set;
  for (const Scope scope : scopes) set.Add(scope);
  return set;
}

constexpr Scope kAllScopes[] = {Scope::kOpen, Scope::kAnyToken, Scope::kInfer, Scope::kTrain,
                                Scope::kAdmin};

// Every set of scopes against everything that can be asked for, by an independent rule.
TEST_F(AccessControlTest, ATokenIsGoodForItsScopes) {
  constexpr Scope kOfTokens[] = {Scope::kInfer, Scope::kTrain, Scope::kAdmin};
  std::vector<std::string> headers;
  for (unsigned bits = 0; bits < 8; ++bits) {
    ScopeSet scopes;
    for (unsigned i = 0; i < 3; ++i) {
      if ((bits >> i & 1) != 0) scopes.Add(kOfTokens[i]);
    }
    headers.push_back(AddToken("t" + std::to_string(bits), scopes));
  }
  const auto control = Open();
  for (unsigned bits = 0; bits < 8; ++bits) {
    const bool is_admin = (bits & 4) != 0;
    const std::map<Scope, bool> expected = {{Scope::kOpen, true},
                                            {Scope::kAnyToken, true},
                                            {Scope::kInfer, is_admin || (bits & 1) != 0},
                                            {Scope::kTrain, is_admin || (bits & 2) != 0},
                                            {Scope::kAdmin, is_admin}};
    for (const Scope scope : kAllScopes) {
      const auto decision = control->Decide({.authorization = headers[bits]}, scope, "it");
      EXPECT_EQ(decision.status.ok(), expected.at(scope)) << bits << " " << Name(scope);
      EXPECT_EQ(decision.caller.name, "t" + std::to_string(bits));
      EXPECT_EQ(decision.caller.IsAdmin(), is_admin);
      if (decision.status.ok()) continue;
      EXPECT_TRUE(absl::IsPermissionDenied(decision.status));
      EXPECT_EQ(ReasonOf(decision.status), "SCOPE_MISSING");
      EXPECT_THAT(std::string(decision.status.message()),
                  HasSubstr("the scope " + std::string(Name(scope))));
    }
  }
}

TEST_F(AccessControlTest, WithoutAValidTokenOnlyWhatIsOpen) {
  AddToken("ci", ScopeSet::All());
  const auto control = Open();
  const std::map<std::string, std::string> reasons = {
      {"", "TOKEN_MISSING"},
      {"Bearer", "TOKEN_MALFORMED"},
      {"Bearer wsn_x", "TOKEN_MALFORMED"},
      {"Basic dXNlcjpwYXNz", "TOKEN_MALFORMED"},
      {"Bearer " + *NewToken(), "TOKEN_UNKNOWN"},
  };
  for (const auto& [header, reason] : reasons) {
    for (const Scope scope : kAllScopes) {
      const auto decision = control->Decide({.authorization = header}, scope, "it");
      EXPECT_EQ(decision.caller.name, "");
      EXPECT_EQ(decision.caller.scopes, ScopeSet());
      if (scope == Scope::kOpen) {
        EXPECT_TRUE(decision.status.ok());
        continue;
      }
      EXPECT_TRUE(absl::IsUnauthenticated(decision.status)) << header;
      EXPECT_EQ(ReasonOf(decision.status), reason) << header;
      EXPECT_THAT(std::string(decision.status.message()), Not(HasSubstr("ci")));
    }
  }
}

TEST_F(AccessControlTest, ATokenEndsWhenItExpires) {
  const std::string header = AddToken("ci", ScopeSet::All(), now_);
  const auto control = Open();
  now_ -= std::chrono::seconds(1);
  EXPECT_TRUE(control->Decide({.authorization = header}, Scope::kInfer, "it").status.ok());
  now_ += std::chrono::seconds(1);
  const absl::Status status =
      control->Decide({.authorization = header}, Scope::kInfer, "it").status;
  EXPECT_TRUE(absl::IsUnauthenticated(status));
  EXPECT_EQ(ReasonOf(status), "TOKEN_EXPIRED");
}

TEST_F(AccessControlTest, ACertificateCountsWithoutAToken) {
  const std::string header = AddToken("reader", Scopes({Scope::kInfer}));
  Write(lines_ + R"({"name": "proxy", "certificate": "proxy.example.org", "scopes": ["admin"]})");
  const auto control = Open();
  const auto decide = [&](std::string_view authorization, std::string_view name) {
    return control->Decide({.authorization = authorization, .certificate_name = name},
                           Scope::kAdmin, "it");
  };
  EXPECT_TRUE(decide("", "proxy.example.org").status.ok());
  EXPECT_EQ(decide("", "proxy.example.org").caller.name, "proxy");
  EXPECT_EQ(ReasonOf(decide("", "other").status), "TOKEN_MISSING");
  // A token that is presented decides alone.
  EXPECT_EQ(ReasonOf(decide("Bearer x", "proxy.example.org").status), "TOKEN_MALFORMED");
  EXPECT_EQ(ReasonOf(decide(header, "proxy.example.org").status), "SCOPE_MISSING");
}

TEST_F(AccessControlTest, WithoutAFileEveryoneMayDoEverything) {
  const auto control = AccessControl::Open("", [this] { return now_; });
  ASSERT_TRUE(control.ok());
  EXPECT_FALSE((*control)->has_tokens());
  for (const Scope scope : kAllScopes) {
    const auto decision = (*control)->Decide({.authorization = "Bearer x"}, scope, "it");
    EXPECT_TRUE(decision.status.ok());
    EXPECT_TRUE(decision.caller.IsAdmin());
  }
  EXPECT_TRUE((*control)->Reload().ok());
}

TEST_F(AccessControlTest, AReloadTakesOverAGoodFileAndNoOther) {
  const std::string first = AddToken("first", ScopeSet::All());
  const auto control = Open();
  const auto knows = [&](const std::string& header) {
    return control->Decide({.authorization = header}, Scope::kAdmin, "it").status.ok();
  };
  Write("{}");
  EXPECT_FALSE(control->Reload().ok());
  EXPECT_TRUE(knows(first));
  std::filesystem::remove(path_);
  control->ReloadIfChanged();
  EXPECT_TRUE(knows(first));
  lines_.clear();
  const std::string second = AddToken("second", ScopeSet::All());
  control->ReloadIfChanged();
  EXPECT_FALSE(knows(first));
  EXPECT_TRUE(knows(second));
}

TEST_F(AccessControlTest, ErrorsHaveTheFlagAsTheirField) {
  for (const char* text : {"{}", "{"}) {
    Write(text);
    const absl::Status status = AccessControl::Check(path_);
    EXPECT_EQ(engine::FieldOf(status), "--tokens");
    EXPECT_THAT(std::string(status.message()), HasSubstr("--tokens: " + path_ + ": line 1"));
  }
  std::filesystem::remove(path_);
  EXPECT_EQ(engine::FieldOf(AccessControl::Check(path_)), "--tokens");
  EXPECT_TRUE(AccessControl::Check("").ok());
}

// A check of a configuration logs nothing; whatever takes the file over does.
TEST_F(AccessControlTest, OnlyWhatUsesTheFileWarnsOfItsReaders) {
  AddToken("ci", ScopeSet::All());
  const auto logged = [](const auto& act) {
    testing::internal::CaptureStderr();
    act();
    return testing::internal::GetCapturedStderr();
  };
  std::unique_ptr<AccessControl> control;
  const std::string warning = "may read the names of the tokens";
  for (const auto& [mode, warns] : {std::pair{0644, true}, std::pair{0640, false}}) {
    chmod(path_.c_str(), mode);
    EXPECT_EQ(logged([&] { EXPECT_TRUE(AccessControl::Check(path_).ok()); }), "");
    EXPECT_EQ(logged([&] { control = Open(); }).find(warning) != std::string::npos, warns);
    EXPECT_EQ(logged([&] { control->ReloadIfChanged(); }), "") << "nothing has changed";
    EXPECT_EQ(
        logged([&] { EXPECT_TRUE(control->Reload().ok()); }).find(warning) != std::string::npos,
        warns);
  }
}

TEST_F(AccessControlTest, DecisionsAndReloadsDoNotDisturbEachOther) {
  const std::string header = AddToken("ci", ScopeSet::All());
  const auto control = Open();
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) {
      EXPECT_TRUE(control->Decide({.authorization = header}, Scope::kAdmin, "it").status.ok());
    }
  });
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(control->Reload().ok());
  stop = true;
  reader.join();
}

// --- calls
// -----------------------------------------------------------------------------------------

TEST(CallContextTest, ACallIsNotAdmittedUntilItIs) {
  CallContext context;
  EXPECT_FALSE(CheckAdmission(&context).ok());
  EXPECT_EQ(CallerOf(&context).scopes, ScopeSet());
  context.Admit("service/Method", {.name = "ci", .scopes = ScopeSet::All()}, absl::OkStatus());
  EXPECT_TRUE(CheckAdmission(&context).ok());
  EXPECT_EQ(CallerOf(&context).name, "ci");
  EXPECT_EQ(CallContext::Of(&context)->method(), "service/Method");
}

TEST(CallContextTest, AContextOfAnotherAllocatorIsNotAdmitted) {
  grpc::CallbackServerContext context;
  EXPECT_EQ(CallContext::Of(&context), nullptr);
  EXPECT_TRUE(absl::IsInternal(CheckAdmission(&context)));
  EXPECT_EQ(CallerOf(&context).scopes, ScopeSet());
}

// --- certificates
// ----------------------------------------------------------------------------------

class CertificatesTest : public testing::Test {
 protected:
  CertificatesTest() { Install(server_, authority_); }

  void Install(const TestCertificate& server, const TestCertificate& authority) {
    engine::WriteBytes(files_.certificate, server.certificate() + authority.certificate());
    engine::WriteBytes(files_.key, server.key());
    engine::WriteBytes(files_.client_ca, authority.certificate());
  }
  absl::Status Load() const { return LoadTlsMaterial(files_, now_).status(); }
  std::string Message() const { return std::string(Load().message()); }

  const engine::TemporaryDirectory directory_;
  const TestCertificate authority_{"authority"};
  const TestCertificate server_{"server", &authority_};
  TlsFiles files_ = {.certificate = directory_ / "cert.pem",
                     .key = directory_ / "key.pem",
                     .client_ca = directory_ / "ca.pem"};
  system_clock::time_point now_ = system_clock::now();
};

TEST_F(CertificatesTest, APairThatFits) {
  const auto material = LoadTlsMaterial(files_, now_);
  ASSERT_TRUE(material.ok()) << material.status();
  EXPECT_EQ(material->key, server_.key());
  EXPECT_GT(material->expires, now_);
  files_.client_ca.clear();
  EXPECT_EQ(LoadTlsMaterial(files_, now_)->client_ca, "");
}

TEST_F(CertificatesTest, ErrorsNameTheFlagAndTheFile) {
  engine::WriteBytes(files_.key, TestCertificate("other").key());
  EXPECT_THAT(Message(), testing::AllOf(HasSubstr("--tls-key"), HasSubstr(files_.key),
                                        HasSubstr("the key of the certificate")));
  engine::WriteBytes(files_.key, server_.encrypted_key());
  EXPECT_THAT(Message(), HasSubstr("without a password"));
  engine::WriteBytes(files_.key, server_.certificate());
  EXPECT_THAT(Message(), HasSubstr("a private key in PEM"));
  Install(server_, authority_);
  engine::WriteBytes(files_.certificate, "text");
  EXPECT_THAT(Message(), testing::AllOf(HasSubstr("--tls-cert"), HasSubstr(files_.certificate)));
  Install(server_, authority_);
  engine::WriteBytes(files_.client_ca, "");
  EXPECT_THAT(Message(), HasSubstr("--tls-client-ca"));
  std::filesystem::remove(files_.client_ca);
  EXPECT_THAT(Message(), HasSubstr("--tls-client-ca"));
  files_.key = "";
  EXPECT_THAT(Message(), HasSubstr("--tls-key"));
}

TEST_F(CertificatesTest, ACertificateIsGoodOnlyInItsTime) {
  now_ = system_clock::now() + 2 * TestCertificate::kDay;
  EXPECT_THAT(Message(), testing::AllOf(HasSubstr("--tls-cert"), HasSubstr("valid from")));
  now_ = system_clock::now() - 2 * TestCertificate::kDay;
  EXPECT_THAT(Message(), HasSubstr("valid from"));
}

TEST_F(CertificatesTest, ADamagedCertificateIsNotTheEndOfTheFile) {
  const std::string good = server_.certificate(), second = authority_.certificate();
  const auto damaged = [&](size_t at) {
    std::string text = second;
    text[at] = '!';
    return text;
  };
  const size_t body = second.find('\n') + 1, end = second.find("-----END");
  for (const std::string& rest :
       {damaged(body + 20), damaged(end), damaged(end - 5), second.substr(0, end),
        second.substr(0, body + 100), second.substr(0, body) + second.substr(body + 40)}) {
    engine::WriteBytes(files_.certificate, good + rest);
    EXPECT_THAT(Message(),
                testing::AllOf(HasSubstr("--tls-cert"), HasSubstr("number 2 is damaged")))
        << rest;
    engine::WriteBytes(files_.certificate, good + second);
    engine::WriteBytes(files_.client_ca, second + rest);
    EXPECT_THAT(Message(), HasSubstr("--tls-client-ca")) << rest;
    engine::WriteBytes(files_.client_ca, second);
  }
  engine::WriteBytes(files_.certificate, "A remark.\n" + good + "\nAnother\n" + second + "\n\n");
  EXPECT_EQ(Message(), "");
}

TEST_F(CertificatesTest, AnAuthorityOutOfItsTimeDoesNotRefuseTheOthers) {
  const auto day = TestCertificate::kDay;
  const std::string good = authority_.certificate();
  const std::string old = TestCertificate("old", nullptr, -3 * day, -2 * day).certificate();
  const std::string next = TestCertificate("next", nullptr, 2 * day, 3 * day).certificate();
  const auto invalid = [&](const std::string& bundle) {
    engine::WriteBytes(files_.client_ca, bundle);
    const auto material = LoadTlsMaterial(files_, now_);
    EXPECT_TRUE(material.ok()) << material.status();
    return material.ok() ? material->invalid_authorities : std::vector<std::string>();
  };
  EXPECT_THAT(invalid(good), testing::IsEmpty());
  EXPECT_THAT(invalid(good + old), testing::ElementsAre(HasSubstr("CN=old valid from")));
  EXPECT_THAT(invalid(next + old + good),
              testing::ElementsAre(HasSubstr("CN=next"), HasSubstr("CN=old")));
  engine::WriteBytes(files_.client_ca, old + next);
  EXPECT_THAT(Message(), testing::AllOf(HasSubstr("--tls-client-ca"), HasSubstr("CN=old")));
  engine::WriteBytes(files_.client_ca, good + old);
  testing::internal::CaptureStderr();
  const auto opened = Certificates::Open(files_, [this] { return now_; });
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("CN=old"));
}

TEST_F(CertificatesTest, TheLogSaysUntilWhenTheCertificateIsValid) {
  const auto day = TestCertificate::kDay;
  const auto logged = [](const auto& act) {
    testing::internal::CaptureStderr();
    act();
    return testing::internal::GetCapturedStderr();
  };
  chmod(files_.key.c_str(), 0600);
  for (const auto& [days, warns] : {std::pair{13, true}, std::pair{15, false}}) {
    const TestCertificate authority("authority", nullptr, -day, days * day);
    const TestCertificate server("server", &authority, -day, days * day);
    Install(server, authority);
    EXPECT_EQ(logged([&] { EXPECT_TRUE(Load().ok()); }), "") << "a check logs nothing";
    std::unique_ptr<Certificates> certificates;
    const std::string at_start = logged([&] {
      auto opened = Certificates::Open(files_, [this] { return now_; });
      ASSERT_TRUE(opened.ok()) << opened.status();
      certificates = *std::move(opened);
    });
    const std::string again = logged([&] { EXPECT_TRUE(certificates->Reload().ok()); });
    for (const std::string& log : {at_start, again}) {
      EXPECT_THAT(log, HasSubstr("info the files of TLS were read"));
      EXPECT_THAT(log, HasSubstr("expires="));
      EXPECT_EQ(log.find("warning") != std::string::npos, warns) << log;
    }
  }
  chmod(files_.key.c_str(), 0644);
  EXPECT_EQ(logged([&] { EXPECT_TRUE(Load().ok()); }), "");
  EXPECT_THAT(logged([&] { Certificates::Open(files_, [this] { return now_; }).IgnoreError(); }),
              HasSubstr("may read the private key"));
}

TEST_F(CertificatesTest, AReloadTakesOverAGoodPairAndNoOther) {
  auto opened = Certificates::Open(files_, [this] { return now_; });
  ASSERT_TRUE(opened.ok()) << opened.status();
  Certificates& certificates = **opened;
  const auto first = certificates.current();
  certificates.ReloadIfChanged();
  EXPECT_EQ(certificates.current(), first) << "nothing has changed";

  const TestCertificate next("server", &authority_);
  engine::WriteBytes(files_.key, next.key());  // half of a change
  certificates.ReloadIfChanged();
  EXPECT_EQ(certificates.current(), first);
  EXPECT_FALSE(certificates.Reload().ok());
  Install(next, authority_);
  certificates.ReloadIfChanged();
  EXPECT_EQ(certificates.current()->key, next.key());
  EXPECT_GT(certificates.current()->number, first->number);
  EXPECT_EQ(first->key, server_.key()) << "whoever holds the old one keeps it";
}

// --- what other machines can reach
// -----------------------------------------------------------------

TEST(ExposureTest, EncryptionOrAFlagOpensAPortToOtherMachines) {
  const auto loopback = *ListenAddress::Parse("127.0.0.1:0", "--listen");
  const auto everywhere = *ListenAddress::Parse("0.0.0.0:0", "--listen");
  for (const bool tokens : {false, true}) {
    for (const bool tls : {false, true}) {
      AccessOptions options;
      if (tokens) options.tokens = "tokens.jsonl";
      if (tls) options.tls = {.certificate = "cert", .key = "key", .client_ca = ""};
      for (const bool insecure : {false, true}) {
        EXPECT_TRUE(CheckExposure("--listen", loopback, options, insecure).ok());
        EXPECT_EQ(CheckExposure("--listen", everywhere, options, insecure).ok(), tls || insecure);
      }
      EXPECT_EQ(DescribeExposure(loopback, options), "");
      const std::string open = DescribeExposure(everywhere, options);
      EXPECT_EQ(open.find("nothing is encrypted") == open.npos, tls);
      EXPECT_EQ(open.find("there are no tokens") == open.npos, tokens);
    }
  }
}

}  // namespace
}  // namespace whipsnake::server
