#include "server/access/token_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <initializer_list>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "engine/base/status.h"
#include "server/access/token.h"
#include "tests/engine/base/support.h"

namespace whipsnake::server {
namespace {

using std::chrono::seconds;
using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

const std::string kDigest(64, 'a');

std::string MessageOf(const std::string& text) {
  return std::string(TokenTable::Parse(text).status().message());
}

TEST(TokenTest, NewTokensAreTokensAndDiffer) {
  std::set<std::string> tokens;
  for (int i = 0; i < 1000; ++i) {
    const auto token = NewToken();
    ASSERT_TRUE(token.ok()) << token.status();
    EXPECT_TRUE(IsToken(*token)) << *token;
    EXPECT_TRUE(IsTokenDigest(TokenDigest(*token)));
    tokens.insert(*token);
  }
  EXPECT_EQ(tokens.size(), 1000);
}

TEST(TokenTest, WhatIsNoToken) {
  const std::string token = *NewToken();
  for (const std::string& text :
       {std::string(), std::string("wsn_"), token + "A", token.substr(0, token.size() - 1),
        " " + token, token + "\n", "WSN_" + token.substr(4),
        token.substr(0, 10) + "+" + token.substr(11),
        token.substr(0, 10) + std::string(1, '\0') + token.substr(11)}) {
    EXPECT_FALSE(IsToken(text)) << text;
  }
}

TEST(TokenTest, BearerTokens) {
  const std::string token = *NewToken();
  EXPECT_EQ(BearerToken("Bearer " + token), token);
  EXPECT_EQ(BearerToken("bEARER " + token), token);
  for (const std::string& text :
       {std::string(), token, "Basic " + token, "Bearer  " + token,
        "Bearer " + token + ", Bearer " + token, std::string("Bearer ")}) {
    EXPECT_EQ(BearerToken(text), std::nullopt) << text;
  }
}

// The digest of FIPS 180's example.
TEST(TokenTest, DigestIsSha256) {
  EXPECT_EQ(TokenDigest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(TokenTableTest, FindsRecordsByTokenAndByCertificate) {
  const std::string token = *NewToken();
  const auto table = TokenTable::Parse(
      "# who may do what\n\n"
      R"({"name": "ci", "sha256": ")" +
      TokenDigest(token) +
      R"(", "scopes": ["infer", "train"], "expires": "2030-01-01T00:00:00+01:00"})"
      "\r\n"
      R"({"name": "proxy", "certificate": "proxy.example.org", "scopes": []})");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->size(), 2);
  const TokenRecord* record = table->FindToken(token);
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->name, "ci");
  EXPECT_EQ(record->scopes.ToString(), "infer, train");
  EXPECT_EQ(record->expires->time_since_epoch(), seconds(1893452400));
  EXPECT_EQ(table->FindCertificate("proxy.example.org")->name, "proxy");
  EXPECT_EQ(table->FindCertificate(""), nullptr);
  EXPECT_EQ(table->FindToken(*NewToken()), nullptr);
  EXPECT_EQ(table->FindToken(record->sha256), nullptr) << "a digest is no token";
}

TEST(TokenTableTest, ALineIsReadAsItWasWritten) {
  for (int scopes = 0; scopes < 8; ++scopes) {
    for (const bool has_certificate : {false, true}) {
      TokenRecord record{.name = "a.b_c-1",
                         .sha256 = has_certificate ? "" : kDigest,
                         .certificate = has_certificate ? "\"name\" with \\ and ü" : "",
                         .scopes = {},
                         .expires = {},
                         .description = scopes % 2 == 0 ? "" : "for\ntests"};
      if ((scopes & 1) != 0) record.scopes.Add(Scope::kInfer);
      if ((scopes & 2) != 0) record.scopes.Add(Scope::kTrain);
      if ((scopes & 4) != 0) record.scopes.Add(Scope::kAdmin);
      if (has_certificate)
        record.expires = std::chrono::system_clock::time_point(seconds(2'000'000'000));
      const auto table = TokenTable::Parse(ToLine(record));
      ASSERT_TRUE(table.ok()) << table.status();
      ASSERT_TRUE(table->HasName(record.name));
      EXPECT_EQ(ToLine(has_certificate ? *table->FindCertificate(record.certificate) : record),
                ToLine(record));
    }
  }
}

TEST(TokenTableTest, ErrorsNameLineFieldValueAndWhatWasExpected) {
  const std::string good = R"({"name": "a", "sha256": ")" + kDigest + R"(", "scopes": []})";
  const auto with = [&](std::string_view field, std::string_view json) {
    const std::string name = field == "name" ? "" : R"("name": "b", )";
    const std::string digest = field == "sha256" || field == "certificate"
                                   ? ""
                                   : R"("sha256": ")" + std::string(64, 'b') + R"(", )";
    const std::string scopes = field == "scopes" ? "" : R"("scopes": [], )";
    return good + "\n\n{" + name + digest + scopes + "\"" + std::string(field) +
           "\": " + std::string(json) + "}";
  };
  ASSERT_EQ(MessageOf(with("description", "\"x\"")), "");
  const struct {
    std::string text;
    std::string_view field, expected;
  } cases[] = {
      {with("name", "\"\""), "name", "letters"},
      {with("name", "\"a b\""), "name", "letters"},
      {with("name", "7"), "name", "7 seen"},
      {with("name", '"' + std::string(65, 'x') + '"'), "name", "1 to 64"},
      {with("name", "\"a\""), "name", "no line before"},
      {with("sha256", "\"abc\""), "sha256", "64 hexadecimal"},
      {with("sha256", '"' + std::string(64, 'A') + '"'), "sha256", "lower case"},
      {with("sha256", '"' + kDigest + '"'), "sha256", "no line before"},
      {with("certificate", "\"\""), "certificate", "1 to 256"},
      {with("scopes", "\"infer\""), "scopes", "infer"},
      {with("scopes", "[\"infer\", \"root\"]"), "scopes[1]", "infer, train or admin"},
      {with("scopes", "[\"open\"]"), "scopes[0]", "infer, train or admin"},
      {with("scopes", "null"), "scopes", "array"},
      {with("expires", "\"tomorrow\""), "expires", "2027-01-01T00:00:00Z"},
      {with("expires", "5"), "expires", "5 seen"},
      {with("scope", "[]"), "scope", "name, sha256"},
      {with("certificate", "\"x\", \"sha256\": \"" + std::string(64, 'c') + "\""), "certificate",
       "either"},
      {with("description", "true"), "description", "true seen"},
  };
  for (const auto& [text, field, expected] : cases) {
    EXPECT_THAT(MessageOf(text), AllOf(HasSubstr("line 3"), HasSubstr(std::string(field)),
                                       HasSubstr(std::string(expected))))
        << text;
  }
  EXPECT_THAT(MessageOf("{"), HasSubstr("line 1"));
  EXPECT_THAT(MessageOf("[]"), HasSubstr("line 1"));
  EXPECT_THAT(MessageOf(R"({"name": "a", "name": "b"})"), HasSubstr("line 1"));
}

// A token, or what may be one, is in no error, wherever in the file it was pasted.
TEST(TokenTableTest, ErrorsShowNoToken) {
  const std::string token = *NewToken(), digest = TokenDigest(token);
  const std::string secret = token.substr(kTokenPrefix.size());
  const std::string good = R"({"name": "a", "sha256": ")" + digest + "\", \"scopes\": []}\n";
  const auto with_digest = [](const std::string& json) {
    return R"({"name": "a", "scopes": [], "sha256": )" + json + "}";
  };
  const std::string scopes = R"(, "scopes": []})";
  for (const std::string& text :
       {with_digest('"' + token + '"'), with_digest('"' + secret + '"'),
        with_digest("[\"" + secret + "\"]"), with_digest("{\"" + secret + "\": 1}"), token,
        '"' + token + '"', "{\"" + token + "\": 1}", "{\"" + token + "\": 1, \"" + token + "\": 2}",
        R"({"sha256": ")" + digest + R"(", "name": ")" + token + '"' + scopes,
        R"({"sha256": ")" + digest + R"(", "name": "x )" + token + '"' + scopes,
        R"({"name": "a", "sha256": ")" + digest + R"(", "scopes": [")" + token + "\"]}",
        R"({"name": "a", "sha256": ")" + digest + R"(", "expires": ")" + token + '"' + scopes,
        R"({"name": "a", "certificate": ")" + token + token + token + token + token + token + '"' +
            scopes,
        good + R"({"name": "b", "sha256": ")" + digest + '"' + scopes}) {
    const std::string message = MessageOf(text);
    EXPECT_THAT(message, HasSubstr("line ")) << text;
    EXPECT_THAT(message, Not(AnyOf(HasSubstr(secret), HasSubstr(digest)))) << text;
  }
}

TEST(TokenTableTest, ATokenInPlaceOfAPathIsNotShown) {
  const engine::TemporaryDirectory directory;
  const std::string token = *NewToken();
  for (const std::string& path : {token, "./" + token, directory / token}) {
    const std::string message(TokenTable::Load(path).status().message());
    EXPECT_THAT(message,
                AllOf(HasSubstr("a token seen, expected the path"), Not(HasSubstr(token))));
  }
}

TEST(TokenTest, WhatBeginsLikeATokenIsRedacted) {
  for (const auto& [text, expected] : std::initializer_list<std::pair<const char*, const char*>>{
           {"", ""},
           {"no token", "no token"},
           {"wsn_", "wsn_[redacted]"},
           {"'wsn_a-B_9' and wsn_x/wsn_y.",
            "'wsn_[redacted]' and wsn_[redacted]/wsn_[redacted]."}}) {
    EXPECT_EQ(RedactTokens(text), expected);
  }
}

TEST(TokenTableTest, AFileOfAnotherUserIsRefused) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const engine::TemporaryDirectory directory;
  const std::string path = directory / "tokens.jsonl";
  engine::WriteBytes(path, "");
  ASSERT_EQ(chown(path.c_str(), 0, 12345), 0);
  EXPECT_TRUE(TokenTable::Load(path).ok()) << "the group may be any";
  ASSERT_EQ(chown(path.c_str(), 12345, 0), 0);
  EXPECT_THAT(std::string(TokenTable::Load(path).status().message()),
              AllOf(HasSubstr(path), HasSubstr("user 12345 seen"), HasSubstr("chown root")));
}

TEST(TokenTableTest, AFileThatOthersMayWriteIsRefused) {
  const engine::TemporaryDirectory directory;
  const std::string path = directory / "tokens.jsonl";
  engine::WriteBytes(path, "");
  for (const mode_t mode : {0600, 0640, 0644, 0400}) {
    chmod(path.c_str(), mode);
    EXPECT_TRUE(TokenTable::Load(path).ok()) << std::oct << mode;
  }
  for (const mode_t mode : {0620, 0602, 0666}) {
    chmod(path.c_str(), mode);
    EXPECT_THAT(std::string(TokenTable::Load(path).status().message()),
                AllOf(HasSubstr(path), HasSubstr("go-w")));
  }
}

}  // namespace
}  // namespace whipsnake::server
