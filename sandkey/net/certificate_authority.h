// A certificate authority of one's own, for servers on this machine: made in a fraction of a millisecond,
// gone with the object. Its key never leaves it.
#pragma once

#include "sandkey/net/tls_listener.h"

#include <memory>
#include <string>
#include <vector>

namespace sandkey::net {

class CertificateAuthority {
 public:
  // `name` is what people see in the certificate. Throws Error(internal) if OpenSSL cannot make it.
  explicit CertificateAuthority(const std::string& name);
  ~CertificateAuthority();
  CertificateAuthority(const CertificateAuthority&) = delete;
  CertificateAuthority& operator=(const CertificateAuthority&) = delete;

  // What clients must trust, as PEM.
  [[nodiscard]] const std::string& certificate() const noexcept;
  // A server's identity for these names: host names ("localhost", "*.e2b.localhost") and addresses. Valid for
  // a year.
  [[nodiscard]] TlsIdentity issue(const std::vector<std::string>& names) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sandkey::net
