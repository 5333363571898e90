# Input: lines "FILE:LINE:#include ..." with paths from the repository's root. Prints what breaks the arrows.

# The folder of a file: the longest directory that it lies in; "" for one that the list does not know.
function folder_of(path, i, best, name, dir) {
  best = ""
  for (i = 1; i <= folders; i++) {
    name = order[i]
    dir = directory[name] "/"
    if (index(path, dir) != 1) continue
    if (best == "" || length(directory[name]) > length(directory[best])) best = name
  }
  return best
}

# The folder that an include names: its longest leading part that is a folder's name; "" if none is.
function folder_named(header, i, best, name) {
  best = ""
  for (i = 1; i <= folders; i++) {
    name = order[i]
    if (index(header, name "/") == 1 && length(name) > length(best)) best = name
  }
  return best
}

function exists(path, status, line) {
  status = (getline line < path)
  close(path)
  return status >= 0
}

# A name without a folder is a file beside the one that includes it; otherwise it is made by the build, for main.
function folder_of_bare(path, header) {
  sub(/[^\/]*$/, "", path)
  return exists(path header) ? folder_of(path header) : "main"
}

function check_own(place, path, folder, header, target) {
  if (header ~ /(^|\/)[.][.]\//) {
    complain(place ": \"" header "\" climbs out of its folder; include it by its folder's name")
    return
  }
  target = header ~ /\// ? folder_named(header) : folder_of_bare(path, header)
  if (target == "") complain(place ": \"" header "\" lies in no folder that arrows.txt knows")
  else if (!((folder, target) in may)) complain(place ": " folder " may not include " target " (\"" header "\")")
  else used[folder, target] = 1
}

BEGIN { table_read() }

{
  split($0, parts, ":")
  place = parts[1] ":" parts[2]
  header = $0
  sub(/^[^:]*:[^:]*:[ \t]*#[ \t]*include[ \t]*/, "", header)
  quote = substr(header, 1, 1)
  header = substr(header, 2)
  sub(/[>"].*/, "", header)
  folder = folder_of(parts[1])
  seen++
  if (folder == "") {
    complain(place ": " parts[1] " lies in no folder that arrows.txt knows")
    next
  }
  if (quote == "\"") check_own(place, parts[1], folder, header)
  broken = outside_broken(header, folder)
  if (broken) complain(place ": " folder " may not include <" header ">; only" outside_names[broken])
}

END {
  if (!seen) complain("no includes found: looked in the wrong place?")
  else unused_find()
  printf "%d includes, %d violations\n", seen, violations
  exit violations > 0
}
