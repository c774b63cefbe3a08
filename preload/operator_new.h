/* operator_new.h: C++'s allocation operators by the names that its compilers
 * give them: they are exported, and called by compiled C++ alone. */
#ifndef PLD_PRELOAD_OPERATOR_NEW_H
#define PLD_PRELOAD_OPERATOR_NEW_H

#include <stdbool.h>
#include <stddef.h>

/* operator new(nbytes), and with an std::align_val_t. */
void *_Znwm(size_t nbytes);
void *_ZnwmSt11align_val_t(size_t nbytes, size_t align);
/* operator delete(p), and with an std::align_val_t. */
void _ZdlPv(void *p);
void _ZdlPvSt11align_val_t(void *p, size_t align);

/* Has the program operators of its own in the place of the first two? */
bool pld_new_is_ours(void);
bool pld_new_aligned_is_ours(void);
/* The C++ library's function of that name; NULL: there is no C++ library. */
void *pld_new_library(const char *name);

#endif
