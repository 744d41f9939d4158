-- The neighbours' tables as the backend's Hibernate makes them: no unique keys on likes, lyrics beside the titles.
CREATE TABLE anime (
  anime_id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  created_at timestamp NULL, modified_at timestamp NULL, title varchar(200) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE song (
  song_id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  created_at timestamp NULL, modified_at timestamp NULL,
  anime_type enum('ED','INSERT','OP','OST'), artist varchar(255), artist_kr varchar(255), genre varchar(255),
  ky_number bigint, lang varchar(255), lyrics_kr text, lyrics_original text, lyrics_yomi text, mood varchar(255),
  title_en varchar(255), title_en_kr varchar(255), title_jp varchar(255), title_kr varchar(255),
  title_yomi varchar(255), title_yomi_kr varchar(255), tj_number bigint, anime_id bigint,
  CONSTRAINT song_of_anime FOREIGN KEY (anime_id) REFERENCES anime (anime_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE member (
  member_id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  created_at timestamp NULL, modified_at timestamp NULL,
  email varchar(255) NOT NULL UNIQUE, password varchar(255) NOT NULL, phone varchar(255)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE member_role_list (
  id bigint NOT NULL, role enum('GHOST','USER'),
  CONSTRAINT role_of_member FOREIGN KEY (id) REFERENCES member (member_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE song_like (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  created_at timestamp NULL, modified_at timestamp NULL, member_id bigint NOT NULL, song_id bigint NOT NULL,
  CONSTRAINT like_of_member FOREIGN KEY (member_id) REFERENCES member (member_id),
  CONSTRAINT like_of_song FOREIGN KEY (song_id) REFERENCES song (song_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE playlist (
  playlist_id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  created_at timestamp NULL, modified_at timestamp NULL,
  description varchar(500), is_public bit(1), title varchar(100) NOT NULL, member_id bigint NOT NULL,
  CONSTRAINT playlist_of_member FOREIGN KEY (member_id) REFERENCES member (member_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE playlist_song (
  id bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  created_at timestamp NULL, modified_at timestamp NULL, song_order int,
  playlist_id bigint NOT NULL, song_id bigint NOT NULL,
  CONSTRAINT place_of_playlist FOREIGN KEY (playlist_id) REFERENCES playlist (playlist_id),
  CONSTRAINT place_of_song FOREIGN KEY (song_id) REFERENCES song (song_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

INSERT INTO anime (anime_id, title) VALUES (1, '귀멸의 칼날');
INSERT INTO song (song_id, created_at, title_jp, title_kr, artist, artist_kr, genre, mood, tj_number, ky_number,
                  anime_id, anime_type, lyrics_original) VALUES
  (1, '2026-04-01 09:00:00', '𠮷野の桜🌸', '요시노의 벚꽃🌸', '髙橋', '다카하시', 'J-pop  서정 팝', '감성적', 68001, NULL, NULL, NULL, 'never read'),
  (2, '2026-04-02 09:00:00', '紅蓮華', '홍련화', 'LiSA', '리사', '록', '강렬', 68002, 44002, 1, 'OP', 'never read'),
  (3, NULL, NULL, '이름만 한국어', 'Ado', '아도', '', NULL, NULL, 44003, NULL, NULL, 'never read'),
  (4, '2026-04-04 09:00:00', '残響散歌', '잔향산가', 'Aimer', '에메', '록, J-pop', '강렬', 68004, NULL, 1, 'OP', 'never read');
INSERT INTO member (member_id, email, password, phone) VALUES
  (1, 'dana@example.invalid', '{bcrypt}x', '010-0000-0000'), (2, 'gone@example.invalid', '{bcrypt}x', NULL);
INSERT INTO member_role_list VALUES (1, 'USER'), (1, 'USER'), (2, 'GHOST');
INSERT INTO song_like (created_at, member_id, song_id) VALUES
  ('2026-05-01 21:00:00', 1, 2), ('2026-05-02 21:00:00', 1, 1), ('2026-05-01 20:00:00', 1, 2), ('2026-05-01 20:00:00', 2, 4);
INSERT INTO playlist (playlist_id, is_public, title, member_id) VALUES (1, b'1', '노래방🎤', 1), (2, NULL, '비공개', 1);
INSERT INTO playlist_song (song_order, playlist_id, song_id) VALUES (1, 1, 3), (1, 1, 3), (2, 1, 2);
