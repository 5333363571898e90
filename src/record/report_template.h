/* record/report.html, put into the program when it is built (cmake/Embed.cmake). */
#ifndef RECORD_REPORT_TEMPLATE_H
#define RECORD_REPORT_TEMPLATE_H

#include <stddef.h>

extern const unsigned char report_template[];
extern const size_t report_template_size;

#endif
