#include "sandkey/net/certificate_authority.h"

#include "sandkey/base/error.h"

#include <arpa/inet.h>

#include <array>
#include <cstdint>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <string_view>

namespace sandkey::net {
namespace {

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* object) const noexcept {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Memory = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;

// Clocks of clients may be behind.
constexpr long kBackdated = 24L * 3600;
constexpr long kLifetime = 365L * 24 * 3600;

void require(bool good) {
  if (!good) throw Error(ErrorCode::internal, "making a certificate: OpenSSL refused");
}

Key make_key() {
  Key key(EVP_EC_gen("P-256"));
  require(key != nullptr);
  return key;
}

void add_extension(X509* certificate, X509* issuer, int number, const std::string& value) {
  X509V3_CTX context{};
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, number, value.c_str()));
  require(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1);
}

Certificate begin_certificate(const std::string& name, EVP_PKEY* key) {
  Certificate certificate(X509_new());
  require(certificate != nullptr);
  std::array<unsigned char, 16> serial{};
  require(RAND_bytes(serial.data(), static_cast<int>(serial.size())) == 1);
  serial[0] &= 0x7F;  // positive
  const std::unique_ptr<BIGNUM, Freer<BN_free>> number(
      BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr));
  require(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr);
  X509_set_version(certificate.get(), X509_VERSION_3);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kBackdated);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kLifetime);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  return certificate;
}

std::string text_of(const Memory& memory) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string to_pem(X509* certificate) {
  const Memory memory(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_X509(memory.get(), certificate) == 1);
  return text_of(memory);
}

std::string to_pem(EVP_PKEY* key) {
  const Memory memory(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return text_of(memory);
}

bool is_address(const std::string& name) {
  std::array<unsigned char, 16> scratch{};
  return ::inet_pton(AF_INET, name.c_str(), scratch.data()) == 1 ||
         ::inet_pton(AF_INET6, name.c_str(), scratch.data()) == 1;
}

std::string alternative_names(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) {
    // OpenSSL reads this as a little language of its own.
    if (name.empty() || name.find_first_of(",\r\n") != std::string::npos) {
      throw Error(ErrorCode::invalid_argument,
                  "making a certificate: '" + name + "' cannot be a host's name");
    }
    list += (list.empty() ? "" : ",") + std::string(is_address(name) ? "IP:" : "DNS:") + name;
  }
  return list;
}

}  // namespace

struct CertificateAuthority::Impl {
  Key key = make_key();
  Certificate certificate;
  std::string pem;
};

CertificateAuthority::CertificateAuthority(const std::string& name) : impl_(std::make_unique<Impl>()) {
  EVP_PKEY* key = impl_->key.get();
  impl_->certificate = begin_certificate(name, key);
  X509* certificate = impl_->certificate.get();
  X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
  add_extension(certificate, certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(certificate, certificate, NID_subject_key_identifier, "hash");
  require(X509_sign(certificate, key, EVP_sha256()) > 0);
  impl_->pem = to_pem(certificate);
}

CertificateAuthority::~CertificateAuthority() = default;

const std::string& CertificateAuthority::certificate() const noexcept {
  return impl_->pem;
}

TlsIdentity CertificateAuthority::issue(const std::vector<std::string>& names) const {
  if (names.empty()) throw Error(ErrorCode::invalid_argument, "making a certificate: it needs a name");
  const Key key = make_key();
  const Certificate certificate = begin_certificate(names.front(), key.get());
  X509* issuer = impl_->certificate.get();
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer));
  add_extension(certificate.get(), issuer, NID_basic_constraints, "critical,CA:FALSE");
  add_extension(certificate.get(), issuer, NID_key_usage, "critical,digitalSignature");
  add_extension(certificate.get(), issuer, NID_ext_key_usage, "serverAuth");
  add_extension(certificate.get(), issuer, NID_subject_alt_name, alternative_names(names));
  add_extension(certificate.get(), issuer, NID_subject_key_identifier, "hash");
  add_extension(certificate.get(), issuer, NID_authority_key_identifier, "keyid:always");
  require(X509_sign(certificate.get(), impl_->key.get(), EVP_sha256()) > 0);
  return {.certificate = to_pem(certificate.get()), .key = to_pem(key.get())};
}

}  // namespace sandkey::net
