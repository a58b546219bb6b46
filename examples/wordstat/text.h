/* Cuts text into words and lines. */
#ifndef WORDSTAT_TEXT_H
#define WORDSTAT_TEXT_H

#include "table.h"

#include <stddef.h>
#include <stdio.h>

/* Numbers seen one at a time; variance by Welford's method, which does not lose digits. */
struct spread {
  unsigned long count;
  double mean;
  double squares; /* sum of squared distances from the mean */
  double smallest;
  double largest;
};

void spread_add(struct spread* spread, double value);
double spread_deviation(const struct spread* spread);

enum { LONGEST_WORD = 255 };

struct text {
  struct table words;
  struct spread word_length; /* in bytes */
  struct spread line_words;
  size_t min_length; /* shorter words are not counted */

  /* Of the word and the line being read: pieces may end anywhere. */
  char pending[LONGEST_WORD + 1];
  size_t pending_length;
  unsigned long words_in_line;
  int line_open;
};

void text_init(struct text* text, size_t min_length);
void text_free(struct text* text);

/* Words are runs of letters, digits, inner apostrophes and bytes above ASCII, taken in lower case and cut at
 * LONGEST_WORD bytes. Return 0, or -1 when memory ran out (text_read: or errno says what). */
int text_feed(struct text* text, const char* bytes, size_t length);
int text_end(struct text* text);
int text_read(struct text* text, FILE* file);

#endif
