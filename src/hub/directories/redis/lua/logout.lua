-- ARGV: id, event or ''.
-- Answers 1 when the instance was there, else 0, or 'undecodable entry'.
local id, event = ARGV[1], ARGV[2]
local entry, unreadable = entry_of(id)
if unreadable then
  return 'undecodable entry'
end
if not entry then
  return 0
end
depart(id, entry)
if event ~= '' then
  record(event)
end
return 1
