/* Writes what was counted. */
#ifndef WORDSTAT_REPORT_H
#define WORDSTAT_REPORT_H

#include "text.h"

#include <stdio.h>

/* The `top` most frequent words (0: all). Return 0, or -1 when memory ran out or the file cannot be written.
 */
int report_text(const struct text* text, size_t top, FILE* out);
/* rank,word,count,share with a header line; quoted where a word needs it. */
int report_csv(const struct text* text, size_t top, FILE* out);

#endif
