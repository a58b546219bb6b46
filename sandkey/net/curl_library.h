// libcurl, loaded when it is first needed.
//
// With the thirty libraries it brings along that takes 6 ms, a third of the time a whole `sandkey run --
// true` needs. So programs are not linked with it, and load it while they wait for something else.
#pragma once

#include <curl/curl.h>

namespace sandkey {

// The functions we use, under their names without "curl_".
struct CurlLibrary {
  decltype(&::curl_easy_cleanup) easy_cleanup;
  decltype(&::curl_easy_getinfo) easy_getinfo;
  decltype(&::curl_easy_init) easy_init;
  decltype(&::curl_easy_pause) easy_pause;
  decltype(&::curl_easy_setopt) easy_setopt;
  decltype(&::curl_easy_strerror) easy_strerror;
  decltype(&::curl_free) free;
  decltype(&::curl_getdate) getdate;
  decltype(&::curl_multi_add_handle) multi_add_handle;
  decltype(&::curl_multi_cleanup) multi_cleanup;
  decltype(&::curl_multi_info_read) multi_info_read;
  decltype(&::curl_multi_init) multi_init;
  decltype(&::curl_multi_remove_handle) multi_remove_handle;
  decltype(&::curl_multi_setopt) multi_setopt;
  decltype(&::curl_multi_socket_action) multi_socket_action;
  decltype(&::curl_url) url;
  decltype(&::curl_url_cleanup) url_cleanup;
  decltype(&::curl_url_get) url_get;
  decltype(&::curl_url_set) url_set;
};

// Loads and initialises it the first time. Thread-safe. Throws Error(unsupported) where it is not installed.
[[nodiscard]] const CurlLibrary& curl();

// Whether that was done already.
[[nodiscard]] bool curl_is_loaded() noexcept;

}  // namespace sandkey
