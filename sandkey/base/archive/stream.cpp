#include "sandkey/base/archive/stream.h"

#include "sandkey/base/utf8.h"

#include <poll.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace sandkey::archive {

namespace {

void wait_for(int fd, short events) {
  pollfd waiting{.fd = fd, .events = events, .revents = 0};
  (void)::poll(&waiting, 1, -1);
}

}  // namespace

std::size_t read_some(int fd, std::span<char> buffer, const std::string& what) {
  for (;;) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait_for(fd, POLLIN);
    } else if (errno != EINTR) {
      throw system_error(what, errno);
    }
  }
}

void write_all(int fd, std::string_view bytes, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      wait_for(fd, POLLOUT);
    } else if (errno != EINTR) {
      throw system_error(what, errno);
    }
  }
}

std::size_t FdInput::read(std::span<char> buffer) {
  if (buffer.empty()) return 0;
  if (begin_ == end_) {
    if (buffer.size() >= buffer_.size()) return read_some(fd_, buffer, "reading the archive");
    begin_ = 0;
    end_ = read_some(fd_, buffer_, "reading the archive");
  }
  const std::size_t count = std::min(buffer.size(), end_ - begin_);
  std::memcpy(buffer.data(), buffer_.data() + begin_, count);
  begin_ += count;
  return count;
}

std::string_view FdInput::peek(std::size_t size) {
  size = std::min(size, buffer_.size());
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  while (end_ < size) {
    const std::size_t count = read_some(fd_, std::span(buffer_).subspan(end_), "reading the archive");
    if (count == 0) break;
    end_ += count;
  }
  return {buffer_.data(), std::min(size, end_)};
}

struct GunzipInput::State {
  explicit State(Input& input) : source(input), compressed(kBufferSize) {}
  Input& source;
  std::vector<char> compressed;
  z_stream stream{};
  bool in_member = true;
};

GunzipInput::GunzipInput(Input& source) : state_(std::make_unique<State>(source)) {
  constexpr int kGzipOnly = 16;
  if (::inflateInit2(&state_->stream, MAX_WBITS + kGzipOnly) != Z_OK) throw std::bad_alloc();
}

GunzipInput::~GunzipInput() {
  ::inflateEnd(&state_->stream);
}

std::size_t GunzipInput::read(std::span<char> buffer) {
  if (buffer.empty()) return 0;
  z_stream& stream = state_->stream;
  stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
  const auto room = static_cast<uInt>(std::min(buffer.size(), kBufferSize));
  stream.avail_out = room;
  while (stream.avail_out == room) {
    if (stream.avail_in == 0) {
      const std::size_t count = state_->source.read(state_->compressed);
      if (count == 0) {
        if (state_->in_member) throw malformed("the gzip stream ends in the middle");
        return 0;
      }
      stream.next_in = reinterpret_cast<Bytef*>(state_->compressed.data());
      stream.avail_in = static_cast<uInt>(count);
    }
    if (!state_->in_member) {
      if (*stream.next_in == 0) {  // padding to a tape's block size, as tar writes it
        stream.next_in++;
        stream.avail_in--;
        continue;
      }
      if (::inflateReset(&stream) != Z_OK) throw malformed("the gzip stream is damaged");
      state_->in_member = true;
    }
    const int result = ::inflate(&stream, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      state_->in_member = false;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      throw malformed("the gzip stream is damaged");
    }
  }
  return room - stream.avail_out;
}

void Output::write(std::string_view bytes) {
  position_ += bytes.size();
  if (buffer_.size() + bytes.size() > kBufferSize) flush();
  if (bytes.size() >= kBufferSize) {
    write_all(fd_, bytes, "writing the archive");
  } else {
    buffer_.append(bytes);
  }
}

void Output::flush() {
  write_all(fd_, buffer_, "writing the archive");
  buffer_.clear();
}

SigpipeBlock::SigpipeBlock() {
  sigset_t pending{};
  sigemptyset(&pending);
  ::sigpending(&pending);
  was_pending_ = sigismember(&pending, SIGPIPE) == 1;
  sigset_t pipe{};
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &pipe, &previous_);
}

SigpipeBlock::~SigpipeBlock() {
  if (!was_pending_) {  // a pending one of our own making must not fire when the mask is lifted
    sigset_t pipe{};
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    const timespec now{};
    while (::sigtimedwait(&pipe, nullptr, &now) < 0 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

std::string shown(std::string_view name) {
  constexpr std::size_t kLongest = 200;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text = "'";
  while (!name.empty()) {
    if (text.size() > kLongest) {
      text += "...";
      break;
    }
    const utf8::Decoded decoded = utf8::decode(name);
    if (decoded.valid && decoded.code_point >= 0x20 && decoded.code_point != 0x7f) {
      text.append(name.substr(0, decoded.length));
    } else {
      for (const char c : name.substr(0, decoded.length)) {
        const auto byte = static_cast<unsigned char>(c);
        text += "\\x";
        text += kHex[byte >> 4U];
        text += kHex[byte & 0xfU];
      }
    }
    name.remove_prefix(decoded.length);
  }
  return text + "'";
}

Error extract_error(ErrorCode code, const std::string& message) {
  ErrorContext context;
  context.operation = "extract";
  return Error(code, message, std::move(context));
}

Error malformed(const std::string& message) {
  return extract_error(ErrorCode::protocol, message);
}

}  // namespace sandkey::archive
