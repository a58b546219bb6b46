#include "sandkey/agent/viewer/file_viewer.h"

#include "sandkey/base/unique_fd.h"
#include "sandkey/base/utf8.h"
#include "sandkey/net/http_server.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace sandkey::agent {
namespace {

namespace asio = boost::asio;
using net::HttpError;
using net::HttpExchange;

constexpr std::string_view kHtml = "text/html; charset=utf-8";
constexpr std::string_view kPolicy =
    "default-src 'none'; img-src data:; object-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";
constexpr std::array<HttpExchange::Header, 4> kHeaders{{{"Content-Security-Policy", kPolicy},
                                                        {"X-Content-Type-Options", "nosniff"},
                                                        {"Referrer-Policy", "no-referrer"},
                                                        {"Cache-Control", "no-store"}}};
constexpr std::string_view kStyle =
    "body{margin:0;font-family:sans-serif}main{margin:1.5em}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    "img{display:block;max-width:100%;margin:auto}embed{position:fixed;inset:0;width:100%;height:100%}";
constexpr std::size_t kPiece = std::size_t{48}
                               << 10U;  // a multiple of 3, so that base64 has no padding inside

struct MediaType {
  std::string_view extension;
  std::string_view type;
};
constexpr std::array<MediaType, 10> kMediaTypes{{{".pdf", "application/pdf"},
                                                 {".png", "image/png"},
                                                 {".jpg", "image/jpeg"},
                                                 {".jpeg", "image/jpeg"},
                                                 {".gif", "image/gif"},
                                                 {".bmp", "image/bmp"},
                                                 {".webp", "image/webp"},
                                                 {".avif", "image/avif"},
                                                 {".ico", "image/x-icon"},
                                                 {".svg", "image/svg+xml"}}};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

// Empty: shown as text.
std::string_view media_type(std::string_view name) {
  const std::size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return {};
  const std::string extension = lower(name.substr(dot));
  for (const MediaType& media : kMediaTypes) {
    if (media.extension == extension) return media.type;
  }
  return {};
}

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t k) {
      return i + k < bytes.size() ? std::uint32_t{static_cast<unsigned char>(bytes[i + k])} : 0U;
    };
    const std::uint32_t three = byte(0) << 16U | byte(1) << 8U | byte(2);
    out += kAlphabet[three >> 18U];
    out += kAlphabet[three >> 12U & 63U];
    out += i + 1 < bytes.size() ? kAlphabet[three >> 6U & 63U] : '=';
    out += i + 2 < bytes.size() ? kAlphabet[three & 63U] : '=';
  }
  return out;
}

std::string page_head(std::string_view name) {
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>File Viewer - " +
         escape(utf8::sanitize(name)) + "</title>\n<style>" + std::string(kStyle) +
         "</style>\n</head>\n<body>\n";
}
constexpr std::string_view kPageEnd = "\n</body>\n</html>\n";

asio::awaitable<void> refuse(HttpExchange& exchange, int status, std::string title, std::string path,
                             std::string detail = {}) {
  std::string page =
      page_head("Error") + "<main><h1>" + escape(title) + "</h1><p>" + escape(utf8::sanitize(path)) + "</p>";
  if (!detail.empty()) page += "<p>" + escape(detail) + "</p>";
  page += "</main>";
  page += kPageEnd;
  co_await exchange.reply(status, std::move(page), kHtml, kHeaders);
}

// Whether the browser thinks that it talks to this machine.
bool is_local_host(std::string_view host) {
  if (host.starts_with('[')) return host.substr(0, host.find(']') + 1) == "[::1]";
  const std::string name = lower(host.substr(0, host.find(':')));
  return name.empty() || name == "localhost" || name == "127.0.0.1";  // HTTP/1.0 has none
}

// Up to a whole piece, less only at the end of the file. Nothing: it could not be read.
std::optional<std::size_t> read_piece(int fd, std::span<char> into) {
  std::size_t size = 0;
  while (size < into.size()) {
    const ssize_t n = ::read(fd, into.data() + size, into.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) break;
    size += static_cast<std::size_t>(n);
  }
  return size;
}

struct OpenFile {
  UniqueFd fd;
  std::size_t size = 0;
};

// The file, or nothing when the refusal has been sent.
asio::awaitable<std::optional<OpenFile>> open_file(HttpExchange& exchange, std::string path) {
  if (!path.starts_with('/') || path.find('\0') != std::string::npos) {
    co_await refuse(exchange, 400, "Error: Path must be absolute", path);
    co_return std::nullopt;
  }
  // A FIFO without a writer would block without O_NONBLOCK; a terminal must not become ours.
  OpenFile file{UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)), 0};
  if (!file.fd) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR) {
      co_await refuse(exchange, 404, "Error: File not found", path);
    } else if (error == EACCES || error == EPERM) {
      co_await refuse(exchange, 403, "Error: File may not be read", path);
    } else if (error == ENAMETOOLONG || error == ELOOP || error == ENXIO) {
      co_await refuse(exchange, 400, "Error: Path is not a file", path, std::strerror(error));
    } else {
      co_await refuse(exchange, 500, "Error viewing file", path, std::strerror(error));
    }
    co_return std::nullopt;
  }
  struct stat info {};
  if (::fstat(file.fd.get(), &info) != 0) throw HttpError(500, "The file could not be examined.");
  if (!S_ISREG(info.st_mode)) {
    co_await refuse(exchange, 400,
                    S_ISDIR(info.st_mode) ? "Error: Path is a directory" : "Error: Path is not a file", path);
    co_return std::nullopt;
  }
  file.size = static_cast<std::size_t>(info.st_size);
  if (file.size > kMaxViewedFile) {
    co_await refuse(exchange, 413, "Error: File is too large", path,
                    "It has " + std::to_string(file.size) + " bytes; files of up to " +
                        std::to_string(kMaxViewedFile >> 20U) + " MiB are shown.");
    co_return std::nullopt;
  }
  co_return file;
}

// Sent in pieces, so that the largest file costs no more memory than a small one.
asio::awaitable<void> show(HttpExchange& exchange, std::string path) {
  auto file = co_await open_file(exchange, path);
  if (!file) co_return;
  const std::string name = path.substr(path.rfind('/') + 1);
  const std::string_view type = media_type(name);
  const bool as_text = type.empty();

  std::string piece(kPiece, '\0');
  auto size = read_piece(file->fd.get(), piece);
  if (!size) co_return co_await refuse(exchange, 500, "Error viewing file", path, std::strerror(errno));
  if (as_text && std::string_view(piece).substr(0, *size).find('\0') != std::string_view::npos) {
    co_return co_await refuse(
        exchange, 415, "Error: File is binary", path,
        "It has " + std::to_string(file->size) + " bytes. Text, images and PDF documents are shown.");
  }

  std::string before = page_head(name);
  std::string after;
  if (as_text) {
    before +=
        "<main><pre>\n";  // a line break right after <pre> is not shown, so that the file's own first one is
    after = "</pre></main>";
  } else if (type == "application/pdf") {
    before += "<embed type=\"application/pdf\" src=\"data:application/pdf;base64,";
    after = "\">";
  } else {
    before += "<main><img alt=\"" + escape(utf8::sanitize(name)) + "\" src=\"data:" + std::string(type) +
              ";base64,";
    after = "\"></main>";
  }
  after += kPageEnd;

  bool open = co_await exchange.start(200, kHtml, std::nullopt, kHeaders);
  if (open) open = co_await exchange.write(before);
  std::size_t total = 0;
  std::string carried;  // the beginning of a character that the next piece completes
  while (open && *size > 0) {
    total += *size;
    if (total > kMaxViewedFile) co_return exchange.abort();  // it grew meanwhile
    const std::string_view bytes(piece.data(), *size);
    if (as_text) {
      std::string text = std::move(carried).append(bytes);
      carried = text.substr(text.size() - utf8::incomplete_tail(text));
      text.resize(text.size() - carried.size());
      open = co_await exchange.write(escape(utf8::sanitize(text)));
    } else {
      open = co_await exchange.write(base64(bytes));
    }
    size = read_piece(file->fd.get(), piece);
    if (!size) co_return exchange.abort();
  }
  if (open && !carried.empty()) open = co_await exchange.write(utf8::sanitize(carried));
  if (open) open = co_await exchange.write(after);
  if (open) (void)co_await exchange.finish();
}

}  // namespace

asio::awaitable<void> handle_file_viewer(HttpExchange& exchange) {
  if (exchange.method() != "GET" && exchange.method() != "HEAD") throw HttpError(405, "Method Not Allowed");
  if (!is_local_host(exchange.header("Host"))) {
    co_return co_await refuse(exchange, 403, "Access Denied", {},
                              "This page is for this machine's own browsers only.");
  }
  if (exchange.path() == "/") {
    co_return co_await exchange.reply(200, "{\"status\":\"File viewer server is running\"}");
  }
  if (exchange.path() != "/view") throw HttpError(404, "Not Found");
  auto path = exchange.query("path");
  if (!path) throw HttpError(422, "The query parameter 'path' is missing.");
  co_await show(exchange, std::move(*path));
}

}  // namespace sandkey::agent
