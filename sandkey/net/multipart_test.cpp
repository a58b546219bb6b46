#include "sandkey/net/multipart.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace sandkey::net {
namespace {

struct Part {
  std::string name, filename, data;
  bool ended = false;
};

class Collector : public MultipartParser {
 public:
  using MultipartParser::MultipartParser;
  std::vector<Part> parts;

 private:
  void on_part(std::string_view name, std::string_view filename) override {
    parts.push_back({std::string(name), std::string(filename), {}});
  }
  void on_data(std::string_view bytes) override { parts.back().data += bytes; }
  void on_part_end() override { parts.back().ended = true; }
};

const std::string kForm =
    "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".zip\"\r\n"
    "Content-Type: application/zip\r\n\r\nline\r\n--b\r\nmore\r\n--b0\r\n"
    "content-disposition: form-data; name=second\r\n\r\n\r\n--b0--\r\n";

TEST(Multipart, GivesTheSamePartsHoweverItArrives) {
  for (std::size_t piece = 1; piece <= kForm.size(); ++piece) {
    Collector parser("b0");
    for (std::size_t at = 0; at < kForm.size(); at += piece) parser.feed(kForm.substr(at, piece));
    ASSERT_TRUE(parser.complete()) << piece;
    ASSERT_EQ(parser.parts.size(), 2U);
    EXPECT_EQ(parser.parts[0].name, "file");
    EXPECT_EQ(parser.parts[0].filename, "a \"b\".zip");
    EXPECT_EQ(parser.parts[0].data, "line\r\n--b\r\nmore");
    EXPECT_TRUE(parser.parts[0].ended);
    EXPECT_EQ(parser.parts[1].name, "second");
    EXPECT_EQ(parser.parts[1].data, "");
    EXPECT_TRUE(parser.parts[1].ended);
  }
}

TEST(Multipart, KnowsAnIncompleteForm) {
  Collector parser("b0");
  parser.feed(kForm.substr(0, kForm.size() - 6));
  EXPECT_FALSE(parser.complete());
}

TEST(Multipart, HoldsNoMoreOfAPartThanADelimiter) {
  Collector parser("b0");
  parser.feed("--b0\r\nContent-Disposition: form-data; name=f\r\n\r\n" + std::string(1000, 'x'));
  EXPECT_GE(parser.parts[0].data.size(), 1000 - std::string("\r\n--b0").size());
}

TEST(Multipart, RefusesWhatIsNoForm) {
  EXPECT_THROW(Collector("b0").feed(std::string(MultipartParser::kMaxPartHeader + 1, 'x')),
               std::invalid_argument);
  EXPECT_THROW(Collector("b0").feed("--b0garbage"), std::invalid_argument);
  EXPECT_THROW(Collector("b0").feed("--b0\r\n" + std::string(MultipartParser::kMaxPartHeader + 1, 'x')),
               std::invalid_argument);
}

TEST(Multipart, FindsTheBoundary) {
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(multipart_boundary("Multipart/Form-Data; charset=utf-8; boundary=\"a b\""), "a b");
  EXPECT_EQ(multipart_boundary("application/json"), "");
  EXPECT_EQ(multipart_boundary("multipart/form-data"), "");
  EXPECT_EQ(multipart_boundary("multipart/form-data; boundary=" + std::string(71, 'x')), "");
}

}  // namespace
}  // namespace sandkey::net
