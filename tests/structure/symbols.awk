# Input: lines "LIBRARY OBJECT TYPE SYMBOL" (nm's letters; library '-' for the program's objects). Prints what breaks the arrows.

BEGIN {
  table_read()
  for (i = 1; i <= folders; i++)
    if (library[order[i]] != "none") folder_of_library[library[order[i]]] = order[i]
}

!($1 in folder_of_library) {
  if (!told[$1]++) complain("library " $1 " belongs to no folder that arrows.txt knows")
  next
}

{ folder = folder_of_library[$1] }

$3 == "U" || $3 == "w" || $3 == "v" {
  users++
  if (!((folder, $4) in user)) user[folder, $4] = $2
  next
}

# Text, data, read-only data, zeroed data, common: one definition each. Weak ones (C++) may repeat.
$3 ~ /^[TDRBC]$/ {
  if ($4 in definer && definer[$4] != folder) complain($4 " is defined in " definer[$4] " and again in " folder " (" $2 ")")
  definer[$4] = folder
  definitions++
}

END {
  for (pair in user) {
    split(pair, key, SUBSEP)
    folder = key[1]; symbol = key[2]
    if (symbol in definer) {
      if (!((folder, definer[symbol]) in may))
        complain(folder " may not use " symbol " of " definer[symbol] " (" user[pair] ")")
      continue
    }
    broken = rule_broken("symbol", symbol, folder)
    if (broken) complain(folder " may not use " symbol " (" user[pair] "); only" rule_names[broken])
  }
  if (!users || !definitions) complain("no symbols found: looked in the wrong place?")
  printf "%d definitions, %d uses, %d violations\n", definitions, users, violations
  exit violations > 0
}
