#include "report.h"

#include <stdlib.h>
#include <string.h>

static size_t at_most(size_t top, size_t used) {
  return top == 0 || top > used ? used : top;
}

static void print_spread(FILE* out, const char* what, const struct spread* spread) {
  fprintf(out, "%-18s mean %.2f, deviation %.2f, from %.0f to %.0f\n", what, spread->mean,
          spread_deviation(spread), spread->smallest, spread->largest);
}

int report_text(const struct text* text, size_t top, FILE* out) {
  fprintf(out, "%-18s %lu (%zu different)\n", "words", text->words.total, text->words.used);
  fprintf(out, "%-18s %lu\n", "lines", text->line_words.count);
  print_spread(out, "bytes in a word", &text->word_length);
  print_spread(out, "words in a line", &text->line_words);
  if (text->words.used == 0) return ferror(out) ? -1 : 0;
  struct word* words = table_sorted(&text->words);
  if (words == NULL) return -1;
  for (size_t i = 0; i < at_most(top, text->words.used); i++) {
    fprintf(out, "%8lu %s\n", words[i].count, words[i].text);
  }
  free(words);
  return ferror(out) ? -1 : 0;
}

static void print_field(FILE* out, const char* field) {
  if (strpbrk(field, ",\"\n") == NULL) {
    fputs(field, out);
    return;
  }
  putc('"', out);
  for (; *field != '\0'; field++) {
    if (*field == '"') putc('"', out);
    putc(*field, out);
  }
  putc('"', out);
}

int report_csv(const struct text* text, size_t top, FILE* out) {
  fputs("rank,word,count,share\n", out);
  if (text->words.used == 0) return ferror(out) ? -1 : 0;
  struct word* words = table_sorted(&text->words);
  if (words == NULL) return -1;
  for (size_t i = 0; i < at_most(top, text->words.used); i++) {
    fprintf(out, "%zu,", i + 1);
    print_field(out, words[i].text);
    fprintf(out, ",%lu,%.6f\n", words[i].count, (double)words[i].count / (double)text->words.total);
  }
  free(words);
  return ferror(out) ? -1 : 0;
}
