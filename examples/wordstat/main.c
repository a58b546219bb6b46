#include "report.h"
#include "text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int usage(void) {
  fputs("usage: wordstat [--csv] [--top N] [--min-length N] [FILE...]\n", stderr);
  return 2;
}

static int parse_number(const char* text, size_t* number) {
  char* end;
  if (text == NULL || *text < '0' || *text > '9') return -1;
  errno = 0;
  *number = strtoul(text, &end, 10);
  return errno != 0 || *end != '\0' ? -1 : 0;
}

int main(int argc, char** argv) {
  int csv = 0;
  size_t top = 10;
  size_t min_length = 1;
  int i = 1;
  for (; i < argc && strncmp(argv[i], "--", 2) == 0; i++) {
    if (strcmp(argv[i], "--") == 0) {
      i++;
      break;
    }
    if (strcmp(argv[i], "--csv") == 0) {
      csv = 1;
    } else if (strcmp(argv[i], "--top") == 0) {
      if (parse_number(argv[++i], &top) != 0) return usage();
    } else if (strcmp(argv[i], "--min-length") == 0) {
      if (parse_number(argv[++i], &min_length) != 0) return usage();
    } else {
      return usage();
    }
  }

  struct text text;
  text_init(&text, min_length);
  int status = 0;
  if (i == argc && text_read(&text, stdin) != 0) {
    fprintf(stderr, "wordstat: standard input: %s\n", strerror(errno));
    status = 1;
  }
  for (; i < argc; i++) {
    FILE* file = fopen(argv[i], "rb");
    if (file == NULL || text_read(&text, file) != 0) {
      fprintf(stderr, "wordstat: %s: %s\n", argv[i], strerror(errno));
      status = 1;
    }
    if (file != NULL) fclose(file);
  }
  if ((csv ? report_csv : report_text)(&text, top, stdout) != 0 || fflush(stdout) != 0) {
    fprintf(stderr, "wordstat: writing: %s\n", strerror(errno));
    status = 1;
  }
  text_free(&text);
  return status;
}
